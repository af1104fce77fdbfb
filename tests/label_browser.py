"""A real browser on the label page, and what a person does there."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

_LABEL_RUNS = """() => {
    const map = surgvosLabel.view.labelMap;
    const runs = [];
    for (let start = 0, end = 1; end <= map.length; end += 1) {
        if (end < map.length && map[end] === map[start]) continue;
        runs.push(map[start], end - start);
        start = end;
    }
    return runs;
}"""

PATIENCE_S = 90
"""A busy machine is no failure."""


def browser_path() -> str:
    """Where Chromium is: ``SURGVOS_CHROMIUM``, or as it is installed; skips the test without it."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = os.environ.get("SURGVOS_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no browser here: install chromium, or set SURGVOS_CHROMIUM to one")
    return found


@contextmanager
def open_browser() -> Iterator[Any]:
    """Start Chromium."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=browser_path(), args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


class LabelPage:
    """The page as a person uses it. Errors in its console fail the test at `close`.

    Args:
        browser: Of `open_browser`.
        url: Of the server.
        options: Of the browser's context, such as ``viewport``.
    """

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.page = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options}).new_page()
        self.page.set_default_timeout(1000 * PATIENCE_S)
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.wait("window.surgvosLabel?.store.video && surgvosLabel.view.scene.image")

    def wait(self, condition: str) -> None:
        """Wait until a condition in JavaScript holds. The page forbids to evaluate texts, so it is asked from here."""
        end = time.monotonic() + PATIENCE_S
        while not self.page.evaluate(f"() => Boolean({condition})"):
            assert time.monotonic() < end, f"expected {condition}, errors: {self.errors}, note: {self.note}"
            time.sleep(0.02)

    def get(self, expression: str) -> Any:
        """The value of an expression in JavaScript."""
        return self.page.evaluate(f"() => {expression}")

    @property
    def note(self) -> str:
        """What the page complains of."""
        return str(self.page.text_content("#note"))

    @property
    def frame(self) -> int:
        """The frame that is shown."""
        return int(self.get("surgvosLabel.place.frame"))

    def settled(self) -> None:
        """Wait until everything asked for is done and saved, and shown."""
        self.wait("document.getElementById('saved').textContent === 'Saved'")
        self.wait("[...(surgvosLabel.store.masks.get(surgvosLabel.place.frame)?.values() ?? [])].every(m => m.counts)")

    def shown(self) -> np.ndarray:
        """The label map that the canvas shows, uint16 ``(h, w)``."""
        self.settled()
        hw = self.get("[surgvosLabel.view.layer.height, surgvosLabel.view.layer.width]")
        values, lengths = np.array(self.page.evaluate(_LABEL_RUNS), dtype=np.uint32).reshape(-1, 2).T
        return np.repeat(values.astype(np.uint16), lengths).reshape(hw)

    def place_of(self, x: float, y: float) -> tuple[float, float]:
        """Where a pixel of the video is on the screen."""
        found = self.page.evaluate(
            """([x, y]) => {
                const { canvas, origin, scale } = surgvosLabel.view;
                const box = canvas.getBoundingClientRect();
                const ratio = box.width / canvas.width;
                return [box.left + (origin.x + x * scale) * ratio, box.top + (origin.y + y * scale) * ratio];
            }""",
            [x, y],
        )
        return found[0], found[1]

    def click(self, x: float, y: float, button: str = "left") -> None:
        """Click on a pixel of the video."""
        self.page.mouse.click(*self.place_of(x + 0.5, y + 0.5), button=button)
        self.settled()

    def drag(self, *points: tuple[float, float]) -> None:
        """Press at the first pixel of the video, move over the others, let go."""
        self.page.mouse.move(*self.place_of(*points[0]))
        self.page.mouse.down()
        for point in points[1:]:
            self.page.mouse.move(*self.place_of(*point), steps=3)
        self.page.mouse.up()
        self.settled()

    def press(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)

    def add(self, name: str) -> None:
        """Make an object."""
        self.page.fill("#new-name", name)
        self.page.press("#new-name", "Enter")
        self.wait(f"[...surgvosLabel.store.objects.values()].at(-1)?.name === {name!r}")
        self.settled()

    def find(self, phrase: str) -> None:
        """Look for a phrase."""
        self.page.fill("#phrase-text", phrase)
        self.page.press("#phrase-text", "Enter")
        self.page.evaluate("() => document.activeElement.blur()")
        self.settled()

    def go(self, frame: int) -> None:
        """Go to a frame."""
        self.page.fill("#frame", str(frame))
        self.page.press("#frame", "Enter")
        self.page.evaluate("() => document.activeElement.blur()")
        assert self.frame == frame
        self.settled()

    def track(self, key: str = "t") -> None:
        """Track, and wait for the end."""
        self.press(key)
        self.wait("surgvosLabel.store.tracking || surgvosLabel.store.undo?.edit === 'track'")
        self.wait("!surgvosLabel.store.tracking")
        self.settled()
