"""Every command of the pages that serves: it starts, answers a browser or a program, and ends when it is told to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from docs.pages import COMMANDS, Command, blocks

pytest.importorskip("fastapi", reason="the packages of a server are not installed: pip install 'surgvos[server]'")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")

SERVERS = list({command.text: command for command in COMMANDS if command.is_server}.values())

FILE_FOR_CAMERA = """
import surgvos.io.live
from surgvos.cli.main import main
surgvos.io.live._camera_device = lambda camera: ("case.mp4", {})
main()
"""
"""A machine that runs tests has no camera: a file stands for it, lost at its end and found again."""


@pytest.fixture
def here(files: Path, tmp_path: Path) -> Path:
    (tmp_path / "case.mp4").symlink_to(files / "case.mp4")
    return tmp_path


@contextmanager
def serving(words: Sequence[str], folder: Path, **settings: str) -> Iterator[str]:
    """A server, by its address; it must end well at Ctrl-C."""
    program = ["-c", FILE_FOR_CAMERA] if "camera:0" in words else ["-m", "surgvos"]
    words = [sys.executable, *program, *words, "--port", "0", "--no-browser"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1", **settings}
    with subprocess.Popen(words, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
            yield address.replace("0.0.0.0", "127.0.0.1")
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0
        finally:
            server.kill()


@pytest.mark.parametrize("command", SERVERS, ids=str)
def test_servers_run(command: Command, here: Path) -> None:
    settings = {name: 24 * value for name, _, value in (word.partition("=") for word in command.environment)}
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with serving(command.words, here, **settings) as address, browser.open(address, timeout=60) as page:
        assert b"not a medical device" in page.read()


def test_a_program_listens_to_what_is_live(here: Path) -> None:
    (program,) = [block for page, block in blocks("python") if page == "docs/live.md"]
    with serving(("live", "camera:0"), here) as address:
        source = re.sub(r"ws://[^/]*", address.replace("http", "ws").rstrip("/"), program)
        words = [sys.executable, "-u", "-c", source]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as listening:
            assert listening.stdout is not None
            assert listening.stdout.readline() == "{}\n"  # nothing has been shown yet
            listening.kill()
