"""A server of the label page in a thread, with a session that needs no model."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from label_miniatures import open_annotator


@pytest.fixture
def serve_labels(tmp_path: Path) -> Iterator[Callable[..., Any]]:
    """Start a server over a folder (made where it is missing); returns its address, its project, and ``stop``."""
    running: list[Any] = []

    def start(folder: Path = tmp_path, access: Any = None, **more: Any) -> Any:
        running.append(start_server(folder, access, **more))
        return running[-1]

    yield start
    for server in running:
        server.stop()


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that no test changes anything at."""
    server = start_server(tmp_path_factory.mktemp("untouched"))
    yield server
    server.stop()


def start_server(folder: Path, access: Any = None, **more: Any) -> Any:
    """A server that takes requests in."""
    pytest.importorskip("fastapi", reason="the packages of a server are not installed: pip install 'surgvos[server]'")
    from surgvos.server.label.app import LabelServer
    from surgvos.server.label.engine import Engine
    from surgvos.server.label.pictures import Pictures
    from surgvos.server.label.project import open_labelled_video
    from surgvos.server.security import Access
    from surgvos.server.serving import guarded_server, listen

    annotator = open_annotator(folder, **more)
    pictures = Pictures(open_labelled_video(folder / "frames"), range(0, len(annotator.project.video), 4))
    listening = listen(access or Access(port=0))
    found = replace(access or Access(), port=listening.getsockname()[1])
    app = LabelServer(lambda publish: Engine(annotator, publish), pictures).app()
    server = guarded_server(app, found)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)

    def stop() -> None:
        server.should_exit = True
        thread.join()

    return SimpleNamespace(url=found.url(with_token=False), project=annotator.project, stop=stop, access=found)
