"""Every command of the pages that serves: it starts, answers a browser, and ends when it is told to."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from docs.pages import COMMANDS, Command

SERVERS = list({command.text: command for command in COMMANDS if command.is_server}.values())

FILE_FOR_CAMERA = """
import surgvos.io.live
from surgvos.cli.main import main
surgvos.io.live._camera_device = lambda camera: ("case.mp4", {})
main()
"""
"""A machine that runs tests has no camera: a file stands for it, lost at its end and found again."""


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")
@pytest.mark.parametrize("command", SERVERS, ids=str)
def test_servers_run(command: Command, files: Path, tmp_path: Path) -> None:
    (tmp_path / "case.mp4").symlink_to(files / "case.mp4")
    program = ["-c", FILE_FOR_CAMERA] if "camera:0" in command.words else ["-m", "surgvos"]
    words = [sys.executable, *program, *command.words, "--port", "0", "--no-browser"]
    settings = {name: 24 * value for name, _, value in (word.partition("=") for word in command.environment)}
    environment = os.environ | settings | {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with subprocess.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = next(found[0] for line in server.stdout if (found := re.search(r"http://\S+", line)))
            with browser.open(address.replace("0.0.0.0", "127.0.0.1"), timeout=60) as page:
                assert b"not a medical device" in page.read()
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 0
        finally:
            server.kill()
