"""The label page in a real browser: what a person does there, sees there, and finds on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from label_browser import LabelPage, open_browser
from label_miniatures import NUM_FRAMES, SquareDetector, center, square
from surgvos.io.masks import read_label_map

ServeLabels = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser() as opened:
        yield opened


def red_and_green(frame: int) -> np.ndarray:
    return np.where(square(frame, "red"), 1, np.where(square(frame, "green"), 2, 0))


def click_on(page: LabelPage, frame: int, name: str, **more: Any) -> None:
    page.click(*center(frame, name).values(), **more)


def test_from_a_click_to_masks_on_disk(browser: Any, serve_labels: ServeLabels) -> None:
    server = serve_labels()
    page = LabelPage(browser, server.url)
    page.add("red")
    click_on(page, 0, "red")
    page.add("green")
    click_on(page, 0, "green")
    np.testing.assert_array_equal(page.shown(), red_and_green(0))
    page.track()
    shown = {}
    for frame in (1, 6, NUM_FRAMES - 1):
        page.go(frame)
        shown[frame] = page.shown()
        np.testing.assert_array_equal(shown[frame], red_and_green(frame))
    server.stop()
    for frame, label_map in shown.items():
        on_disk = read_label_map(server.project.folder / "masks" / f"{frame:05d}.png")
        np.testing.assert_array_equal(on_disk, label_map)
    assert page.errors == []


def test_a_correction_in_the_middle_is_tracked_to_the_next_lock(browser: Any, serve_labels: ServeLabels) -> None:
    page = LabelPage(browser, serve_labels().url)
    page.add("red")
    click_on(page, 0, "red")
    page.track()
    page.go(9)
    page.press("l")
    page.settled()
    page.go(5)
    click_on(page, 5, "green")  # it is tracked again by itself
    page.wait("surgvosLabel.store.undo?.edit === 'track' && surgvosLabel.store.undo.frame === 6")
    page.wait("!surgvosLabel.store.tracking")
    both = {frame: np.where(red_and_green(frame) > 0, 1, 0) for frame in range(NUM_FRAMES)}
    only = {frame: square(frame, "red").astype(int) for frame in range(NUM_FRAMES)}
    np.testing.assert_array_equal(page.shown(), both[5])
    page.press("q")
    page.wait("surgvosLabel.place.before")
    np.testing.assert_array_equal(page.shown(), only[5])
    page.press("q")
    for frame in (4, 9, 10):
        page.go(frame)
        np.testing.assert_array_equal(page.shown(), only[frame])
    page.go(7)
    after = page.shown()
    assert not np.array_equal(after, only[7])
    page.press("Control+z")
    page.settled()
    page.go(7)
    np.testing.assert_array_equal(page.shown(), only[7])
    page.press("Control+Shift+z")
    page.settled()
    page.go(7)
    np.testing.assert_array_equal(page.shown(), after)
    # A locked frame says so, and stays.
    page.go(9)
    page.click(2, 2)
    page.wait("document.getElementById('note').textContent.includes('locked')")
    np.testing.assert_array_equal(page.shown(), only[9])
    assert page.errors == []


def test_brush_box_eraser_and_exclude(browser: Any, serve_labels: ServeLabels) -> None:
    page = LabelPage(browser, serve_labels().url)
    page.press("b")
    page.drag((4.2, 6.2), (16.2, 18.2))  # without an object there is one now
    np.testing.assert_array_equal(page.shown(), square(0, "red"))
    page.press("p", "[", "[", "[", "[", "[", "[", "[", "[", "[", "[")
    page.drag((30, 10), (40, 10))
    painted = page.shown()
    assert painted[10, 30:41].all()
    assert painted[20].sum() == 0
    page.press("e")
    page.drag((30, 10), (40, 10))
    assert not page.shown()[10, 32:39].any()
    page.press("c")
    click_on(page, 0, "green")
    assert page.shown()[35, 50] == 1
    click_on(page, 0, "green", button="right")
    assert page.shown()[35, 50] == 0
    page.press("Control+z")
    page.settled()
    assert page.shown()[35, 50] == 1
    assert page.errors == []


def test_phrase_and_suggest(browser: Any, serve_labels: ServeLabels) -> None:
    server = serve_labels(detector=SquareDetector(), reads=True)
    page = LabelPage(browser, server.url)
    page.add("thing")
    page.find("green")
    page.wait("surgvosLabel.store.undo?.edit === 'phrase'")
    np.testing.assert_array_equal(page.shown(), square(0, "green"))
    page.find("purple")
    page.wait("document.getElementById('note').textContent.includes('got nothing')")
    np.testing.assert_array_equal(page.shown(), square(0, "green"))
    page.go(1)
    page.press("s")
    page.wait("surgvosLabel.store.undo?.edit === 'suggest'")
    suggested = page.shown()
    np.testing.assert_array_equal(suggested, np.where(square(1, "red"), 2, np.where(square(1, "green"), 3, 0)))
    assert page.get("[...surgvosLabel.store.objects.values()].map((each) => each.label)") == [None, "grasper", "hook"]
    page.press("s")
    page.wait("document.getElementById('note').textContent.includes('something new')")
    page.press("Control+z", "Control+z")
    page.settled()
    page.press("Control+Shift+z", "Control+Shift+z")
    page.settled()
    page.go(1)
    np.testing.assert_array_equal(page.shown(), suggested)
    server.stop()
    np.testing.assert_array_equal(read_label_map(server.project.folder / "masks" / "00001.png"), suggested)
    assert page.errors == []


def test_what_cannot_be_asked_for_is_not_offered(browser: Any, serve_labels: ServeLabels) -> None:
    page = LabelPage(browser, serve_labels().url)
    assert page.page.is_hidden("#phrase")
    assert page.page.is_hidden("#suggest")


def test_everything_by_keys(browser: Any, serve_labels: ServeLabels) -> None:
    page = LabelPage(browser, serve_labels().url)
    page.press("n")
    page.page.keyboard.type("red")
    page.press("Enter")
    page.wait("surgvosLabel.store.objects.size === 1")
    page.settled()
    page.press("k")
    start = page.get("[surgvosLabel.view.layer.width / 2, surgvosLabel.view.layer.height / 2]")
    target = center(0, "red")
    for _ in range(round((start[0] - target["x"]) / 4)):
        page.press("ArrowLeft")
    for _ in range(round((start[1] - target["y"]) / 4)):
        page.press("ArrowUp")
    page.press("Enter")
    page.wait("surgvosLabel.store.undo?.edit === 'click'")
    np.testing.assert_array_equal(page.shown(), square(0, "red"))
    page.press("Escape")
    page.track()
    page.press("End")
    assert page.frame == NUM_FRAMES - 1
    np.testing.assert_array_equal(page.shown(), square(NUM_FRAMES - 1, "red"))
    page.press("Home", "ArrowRight", "ArrowRight")
    assert page.frame == 2
    page.press("l")
    page.wait("surgvosLabel.store.locked.has(2)")
    page.press("ArrowRight", "0")
    page.wait("surgvosLabel.store.mask(3, 1)?.origin === 'absent'")
    page.press("?")
    assert page.page.is_visible("#help")
    page.press("Escape")
    assert page.errors == []


def test_a_closed_tab_and_a_second_one(browser: Any, serve_labels: ServeLabels) -> None:
    server = serve_labels()
    one, other = LabelPage(browser, server.url), LabelPage(browser, server.url)
    one.add("red")
    click_on(one, 0, "red")
    np.testing.assert_array_equal(other.shown(), square(0, "red"))
    other.press("Control+z")
    one.wait("surgvosLabel.store.mask(0, 1) === null")
    one.go(4)
    one.wait("surgvosLabel.place.told === 4")
    one.page.close()
    again = LabelPage(browser, server.url)
    assert again.frame == 4
    assert again.get("surgvosLabel.store.redo.edit") == "click"
    assert one.errors == other.errors == again.errors == []


def test_a_server_that_ends_and_comes_back_loses_nothing(browser: Any, serve_labels: ServeLabels) -> None:
    server = serve_labels()
    page = LabelPage(browser, server.url)
    page.add("red")
    click_on(page, 0, "red")
    server.stop()
    page.wait("document.getElementById('saved').textContent.startsWith('No server')")
    page.page.mouse.click(*page.place_of(40, 4))
    page.wait("document.getElementById('note').textContent.includes('does not answer')")
    serve_labels(access=server.access)
    page.settled()
    np.testing.assert_array_equal(page.shown(), square(0, "red"))
    click_on(page, 0, "green")
    assert (page.shown() > 0).sum() == (red_and_green(0) > 0).sum()
    assert page.errors == []


@pytest.mark.parametrize("size", [(1366, 800), (800, 1180), (600, 900)])
def test_nothing_is_cut_off(browser: Any, serve_labels: ServeLabels, size: tuple[int, int]) -> None:
    page = LabelPage(browser, serve_labels().url, viewport={"width": size[0], "height": size[1]})
    page.add("red")
    click_on(page, 0, "red")
    outside = page.get(
        """[...document.querySelectorAll("button, input, canvas")].filter((each) => {
            const box = each.getBoundingClientRect();
            return box.width && !each.closest("aside, dialog") && (box.left < -1 || box.right > innerWidth + 1 ||
                box.top < -1 || box.bottom > innerHeight + 1);
        }).map((each) => each.id || each.outerHTML)"""
    )
    assert outside == []
    stage = page.get("document.getElementById('view').getBoundingClientRect().height")
    assert stage > 0.25 * size[1]


def test_everything_has_a_name_and_can_be_read(browser: Any, serve_labels: ServeLabels) -> None:
    page = LabelPage(browser, serve_labels().url)
    page.add("red")
    nameless = page.get(
        """[...document.querySelectorAll("button, input, select, canvas")].filter((each) =>
            !(each.innerText?.trim() || each.ariaLabel || each.labels?.[0]?.innerText?.trim())
        ).map((each) => each.outerHTML)"""
    )
    assert nameless == []
    for theme in ("light", "dark"):
        page.page.evaluate("(theme) => (document.documentElement.dataset.theme = theme)", theme)
        for foreground, ground in (
            ("text", "surface"),
            ("quiet", "surface"),
            ("on-accent", "accent"),
            ("warn", "raised"),
        ):
            assert _contrast(page, foreground, ground) >= 4.5, (theme, foreground, ground)
    assert "not a medical device" in page.get("document.querySelector('header').innerText")


def _contrast(page: LabelPage, foreground: str, ground: str) -> float:
    """Contrast ratio of two colours of the style sheet. Reference: WCAG 2.1, relative luminance."""
    lights = []
    for name in (foreground, ground):
        text = page.get(f"getComputedStyle(document.documentElement).getPropertyValue('--{name}').trim()")
        values = np.array([int(text[start : start + 2], 16) for start in (1, 3, 5)]) / 255
        linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
        lights.append(float(linear @ (0.2126, 0.7152, 0.0722)))
    return (max(lights) + 0.05) / (min(lights) + 0.05)
