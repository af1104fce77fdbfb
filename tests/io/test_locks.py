"""Files that are locked, and folders that a killed process leaves behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from surgvos.io.files import new_folder
from surgvos.io.locks import try_lock

WRITER = """
import sys
from pathlib import Path
from surgvos.io.files import new_folder
with new_folder(Path(sys.argv[1])) as part:
    (part / "half.txt").write_text("half")
    print("writing", flush=True)
    sys.stdin.read()
"""


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def test_what_a_killed_writer_left_behind_is_cleared_by_the_next_one_of_the_name(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in (".out-stranger.part", ".out-other-12345678.part"):
        (tmp_path / name / "what").mkdir(parents=True)
    strangers = hidden(tmp_path)
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(out)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"writing\n"
    with new_folder(out) as part:
        (part / "whole.txt").write_text("whole")
    assert [path.name for path in out.iterdir()] == ["whole.txt"]
    assert len(hidden(tmp_path)) == len(strangers) + 1, "somebody is still writing there"
    writer.kill()
    writer.communicate()
    with new_folder(tmp_path / "another"):
        pass
    assert len(hidden(tmp_path)) == len(strangers) + 1, "it is not that one's"
    (out / "whole.txt").unlink()
    with new_folder(out):
        pass
    assert hidden(tmp_path) == strangers


def test_a_file_has_one_lock(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as first, path.open("wb") as second:
        assert try_lock(first)
        assert not try_lock(second)
        first.close()
        assert try_lock(second)


def test_without_posix_locks_a_byte_is_locked_that_nobody_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[tuple[int, int]] = []

    def locking(descriptor: int, mode: int, num_bytes: int) -> None:
        if locked:
            raise PermissionError
        locked.append((file.seek(0, 1), num_bytes))

    monkeypatch.setitem(sys.modules, "fcntl", None)
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    with (tmp_path / "file").open("wb+", buffering=0) as file:
        file.write(b"words")
        assert try_lock(file)
        assert not try_lock(file)
        assert file.tell() == 5
    ((place, num_bytes),) = locked
    assert place > 1_000_000_000
    assert num_bytes == 1
