"""What would not run on macOS or Windows, read off the source: no shell, no fork, no function of one system alone."""

from __future__ import annotations

import ast
import pickle
from functools import cache
from pathlib import Path

import pytest

import surgvos
from surgvos.config.presets import RECIPES
from surgvos.data.batches import BatchShape

PACKAGE = Path(surgvos.__file__).parent
GUARDS = ("hasattr(", "getattr(", "sys.platform", "except ImportError", "except AttributeError")
"""What shows that a system without something was thought of."""

POSIX_MODULES = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = {
    "os": {
        *("fork", "forkpty", "getgid", "getloadavg", "getpgid", "getuid", "geteuid", "killpg", "mkfifo", "nice"),
        *("sched_getaffinity", "sched_setaffinity", "sched_setscheduler", "setpriority", "getpriority", "setsid"),
        *("statvfs", "sysconf", "uname", "wait", "waitpid"),
    },
    "signal": {"SIGALRM", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "alarm", "pause", "pthread_kill", "setitimer"},
}
SHELL = {"os": {"execv", "execvp", "popen", "spawnl", "system"}, "subprocess": {"Popen", "call", "check_output", "run"}}


@cache
def nodes() -> list[tuple[str, ast.AST, str]]:
    """Every name, import and call of the package: where, what, and the source of the outermost definition around it."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        lines = source.splitlines()
        for statement in ast.parse(source).body:
            text = "\n".join(lines[statement.lineno - 1 : statement.end_lineno])
            for node in ast.walk(statement):
                if isinstance(node, ast.Attribute | ast.Import | ast.ImportFrom | ast.Call):
                    found.append((f"{path.relative_to(PACKAGE)}:{node.lineno}", node, text))
    return found


def attributes(node: ast.AST, known: dict[str, set[str]]) -> str | None:
    """``os.fork`` where a node says so, and that is known."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}" if node.attr in known.get(node.value.id, ()) else None
    if isinstance(node, ast.ImportFrom) and node.module in known:
        return next((f"{node.module}.{n.name}" for n in node.names if n.name in known[node.module]), None)
    return None


def imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {name.name for name in node.names}
    return {node.module or ""} if isinstance(node, ast.ImportFrom) else set()


def test_what_one_system_alone_has_is_not_taken_for_granted() -> None:
    bare = [
        (place, found)
        for place, node, scope in nodes()
        if (found := attributes(node, POSIX_NAMES) or next(iter(imported(node) & POSIX_MODULES), None))
        and not any(guard in scope for guard in GUARDS)
    ]
    assert bare == []


def test_no_program_is_called() -> None:
    assert [(place, found) for place, node, _ in nodes() if (found := attributes(node, SHELL))] == []


def test_text_files_say_their_encoding() -> None:
    """Windows has one of its own."""
    silent = [
        place
        for place, node, _ in nodes()
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in ("read_text", "write_text")
        and not any(word.arg == "encoding" for word in node.keywords)
    ]
    assert silent == []


@pytest.mark.parametrize("name", ["nano_clips", "nano_objects", "nano_phrases", "nano_overseer"])
def test_sources_can_be_sent_to_a_fresh_process(name: str) -> None:
    """Where processes are not forked, workers get their source by pickling."""
    config = RECIPES[name]()
    shape = BatchShape(num_frames=2 if name == "nano_clips" else 1, image_hw=(64, 64), batch_size=1)
    sent = pickle.loads(pickle.dumps(config.data.open(shape, 0)))
    assert type(sent) is type(config.data.open(shape, 0))
