"""The page of a live run in a real browser: what is seen there, and where a click goes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from label_browser import PATIENCE_S, open_browser
from live.scripted import HW, Recorded, red_mask, until
from surgvos.server.security import Access
from surgvos.server.serving import guarded_server, listen

pytest.importorskip("fastapi", reason="the packages of a server are not installed: pip install 'surgvos[server]'")

from surgvos.server.live.app import LiveServer


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


@pytest.fixture
def run() -> Iterator[Recorded]:
    with Recorded() as recorded:
        yield recorded


@pytest.fixture
def served(run: Recorded) -> Iterator[tuple[str, Callable[[], None]]]:
    """The address of a server, and what stops it."""
    listening = listen(Access(port=0))
    access = Access(port=listening.getsockname()[1])
    server = guarded_server(LiveServer(run.engine).app(), access)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    until(lambda: server.started)

    def stop() -> None:
        server.should_exit = True
        thread.join()

    yield access.url(), stop
    stop()


class LivePage:
    """The page as a person uses it."""

    def __init__(self, browser: Any, url: str, run: Recorded) -> None:
        self.page = browser.new_context(viewport={"width": 1000, "height": 700}).new_page()
        self.page.set_default_timeout(1000 * PATIENCE_S)
        self.run = run
        self.errors: list[str] = []
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)

    def text(self, selector: str) -> str:
        return str(self.page.text_content(selector))

    def until(self, condition: Callable[[], Any]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"waited in vain; errors: {self.errors}, note: {self.text('#note')}"
            self.page.wait_for_timeout(20)

    def shown_frame(self) -> str | None:
        return self.page.get_attribute("#picture", "data-frame")

    def see(self, *frames: int) -> None:
        """Send frames, and wait until the last one is on the screen."""
        self.run.send(*frames)
        self.until(lambda: self.shown_frame() == str(frames[-1]))

    def place_of(self, x: float, y: float) -> tuple[float, float]:
        box = self.page.locator("#marks").bounding_box()
        scale = min(box["width"] / HW[1], box["height"] / HW[0])
        left = box["x"] + (box["width"] - HW[1] * scale) / 2
        top = box["y"] + (box["height"] - HW[0] * scale) / 2
        return left + x * scale, top + y * scale

    def noted(self, text: str) -> None:
        self.until(lambda: self.text("#note") == text)


@pytest.fixture
def page(browser: Any, served: tuple[str, Callable[[], None]], run: Recorded) -> Iterator[LivePage]:
    opened = LivePage(browser, served[0], run)
    yield opened
    assert opened.errors == []
    opened.page.context.close()


def test_from_a_click_to_a_followed_object(page: LivePage, run: Recorded) -> None:
    page.see(0, 1, 2, 3)
    page.page.mouse.click(*page.place_of(8.5, 6.5))
    page.noted("object 1: taken in frame 3")
    page.see(4, 5)
    np.testing.assert_array_equal(run.answers[-1].result.masks[1], red_mask(5))
    page.see(6)
    page.until(lambda: page.text("#objects").startswith("object 1tracking"))
    page.page.click("#objects .remove")
    page.until(lambda: not page.run.engine.segmenting._tracker.object_ids)
    page.see(7, 8)
    page.until(lambda: page.page.locator("#objects li").count() == 0)
    page.until(lambda: "9 of 9" in page.text("#numbers"))


def test_while_the_mouse_is_down_the_picture_stands_still(page: LivePage, run: Recorded) -> None:
    page.see(0, 1)
    page.page.keyboard.press("n")
    page.page.click("input[value=box]")
    page.page.mouse.move(*page.place_of(2, 4))
    page.page.mouse.down()
    page.page.wait_for_timeout(2500)  # longer than pictures are kept that nobody draws on
    run.send(2, 3, 4)
    page.page.mouse.move(*page.place_of(8, 10), steps=3)
    page.page.wait_for_timeout(300)
    assert page.shown_frame() == "1"
    page.page.mouse.up()
    page.noted("object 1: taken in frame 1")
    page.see(5)


def test_a_phrase_that_no_model_reads_is_refused_in_words(page: LivePage) -> None:
    page.see(0)
    page.page.fill("#phrase input", "needle driver")
    page.page.press("#phrase input", "Enter")
    until(lambda: page.run.engine.segmenting._waiting)
    page.see(1)
    page.until(lambda: "cannot read" in page.text("#note"))


def test_a_page_without_a_connection_does_not_look_alive(
    page: LivePage, served: tuple[str, Callable[[], None]]
) -> None:
    page.see(0)
    assert page.page.locator("#curtain").is_hidden()
    served[1]()
    page.until(lambda: page.page.locator("#curtain").is_visible())
    assert "no connection for" in page.text("#curtain")
    page.until(lambda: page.text("#state") == "no connection")


def test_the_page_says_what_it_is_not(page: LivePage) -> None:
    assert "not a medical device" in page.text("footer")
    before = page.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    page.page.click("#theme")
    assert page.page.evaluate("() => getComputedStyle(document.body).backgroundColor") != before
