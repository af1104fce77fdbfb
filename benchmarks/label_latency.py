"""How long a person waits on the label page, in a real Chromium: first paint, click to mask, scrub and leap to picture.

python benchmarks/label_latency.py CASE.mp4 --out OUT

Needs playwright, and Chromium (or SURGVOS_CHROMIUM). Times are taken in the page: from the event of the pointer or the
key to the canvas that shows its answer.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

READY = "window.surgvosLabel?.store.video && surgvosLabel.view.scene.image"
WATCH = """() => {
    const { view, store, place } = surgvosLabel;
    const draw = view.drawNow.bind(view);
    const current = () => store.mask(place.frame, place.active);
    const watch = (window.watch = { clickedMs: null, clicks: [], goneMs: new Map(), arrivals: [] });
    document.addEventListener("pointerup", (event) => {
        Object.assign(watch, { clickedMs: event.timeStamp, before: current() });
    }, { capture: true });
    view.drawNow = () => {
        draw();
        const nowMs = performance.now();
        if (watch.clickedMs !== null && current() !== watch.before && current()?.counts) {
            watch.clicks.push(nowMs - watch.clickedMs);
            watch.clickedMs = null;
        }
        const shown = Number(/frames\\/(\\d+)/.exec(view.scene.image?.src ?? "")?.[1] ?? -1);
        if (!watch.goneMs.has(shown)) return;
        watch.arrivals.push(nowMs - watch.goneMs.get(shown));
        watch.goneMs.delete(shown);
    };
    watch.go = (key) => {
        const nowMs = performance.now();
        document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
        watch.goneMs.set(place.frame, nowMs);
    };
}"""
SCRUB = """([count, pauseMs]) => new Promise((resolve) => {
    const timer = setInterval(() => {
        watch.go("ArrowRight");
        count -= 1;
        if (!count) { clearInterval(timer); setTimeout(resolve, 1000); }
    }, pauseMs);
})"""
LEAP = """(frame) => {
    watch.goneMs.set(frame, performance.now());
    const field = document.getElementById("frame");
    field.value = frame;
    field.dispatchEvent(new Event("change"));
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--frames", type=int, default=40, help="in which an object is clicked on, three times each")
    parser.add_argument("--opens", type=int, default=10, help="how often the page is opened")
    parser.add_argument("--aim-s", type=float, default=0.7, help="between the arrival at a frame and the first click")
    parser.add_argument("--scrubbed", type=int, default=150, help="frames scrubbed through, at 25 per second")
    parser.add_argument("--out", type=Path, required=True, help="a new folder: the project, and latency.json")
    chosen = parser.parse_args()
    with served(chosen.video, chosen.out / "project") as (url, start_s), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        # A person's browser has shown something before.
        browser.new_page().goto("data:text/html,<h1>Any other page</h1>")
        paints = [first_paint(browser, url) for _ in range(chosen.opens)]
        page = open_page(browser, url)
        page.evaluate(WATCH)
        rows = {
            "first paint": [paint for paint, _ in paints],
            "first frame on the page": [frame for _, frame in paints],
            **clicks(page, chosen.frames, chosen.aim_s),
            "scrub at 25 frames per second, to the picture": scrub(page, chosen.scrubbed),
            "leap to a frame far away, to the picture": leap(page, 20),
        }
        browser.close()
    print(f"from the command to its address: {start_s:.1f} s")
    print(f"{'milliseconds':48}   num    p50    p95    max")
    for name, values in rows.items():
        p50, p95, longest = np.percentile(values, [50, 95, 100])
        print(f"{name:48} {len(values):5} {p50:6.0f} {p95:6.0f} {longest:6.0f}")
    (chosen.out / "latency.json").write_text(json.dumps({"start_s": start_s, "milliseconds": rows}, indent=1))


@contextmanager
def served(video: Path, project: Path) -> Iterator[tuple[str, float]]:
    """The command in a process of its own: the address of its page, and the seconds until it was there."""
    words = ["label", str(video), "--project", str(project), "--port", "0", "--no-browser", "--device", "cpu"]
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "surgvos", *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found, "the command did not start"
        yield found.group(), time.perf_counter() - started
    finally:
        process.terminate()
        process.wait()


def chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return os.environ.get("SURGVOS_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def open_page(browser: Any, url: str) -> Any:
    page = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
    page.goto(url)
    wait(page, READY)
    return page


def first_paint(browser: Any, url: str) -> tuple[float, float]:
    """Milliseconds from the navigation to the first paint with content, and to the first frame; nothing cached."""
    page = open_page(browser, url)
    frame_ms = page.evaluate("() => performance.now()")
    paint_ms = page.evaluate("() => performance.getEntriesByName('first-contentful-paint')[0].startTime")
    page.context.close()
    return paint_ms, frame_ms


def clicks(page: Any, num_frames: int, aim_s: float) -> dict[str, list[float]]:
    """Click three times in each of some frames: into the middle of the picture, wherever there is something or not."""
    draw = random.Random(0)
    num_video = page.evaluate("() => surgvosLabel.store.video.num_frames")
    page.fill("#new-name", "tool")
    page.press("#new-name", "Enter")
    wait(page, "surgvosLabel.place.active")
    found: dict[str, list[float]] = {"first click in a frame, to the mask": [], "further clicks": []}
    for frame in draw.choices(range(num_video), k=num_frames):
        page.evaluate(LEAP, frame)
        time.sleep(aim_s)
        for number in range(3):
            box = page.locator("#view").bounding_box()
            x, y = (box[at] + box[size] * draw.uniform(0.3, 0.7) for at, size in (("x", "width"), ("y", "height")))
            page.mouse.click(x, y)
            wait(
                page, "!surgvosLabel.connection.waiting.size && document.getElementById('saved').innerText === 'Saved'"
            )
            time.sleep(0.3)
            answered = page.evaluate("() => watch.clicks.splice(0)")
            found["first click in a frame, to the mask" if number == 0 else "further clicks"] += answered
    return found


def scrub(page: Any, num_frames: int) -> list[float]:
    page.evaluate(LEAP, 0)
    time.sleep(2)
    page.evaluate("() => { watch.goneMs.clear(); watch.arrivals = []; }")
    page.evaluate(SCRUB, [num_frames, 40])
    never = page.evaluate("() => watch.goneMs.size")
    if never:
        print(f"{never} of {num_frames} frames scrubbed through were never shown")
    return page.evaluate("() => watch.arrivals")


def leap(page: Any, count: int) -> list[float]:
    draw = random.Random(1)
    num_video = page.evaluate("() => surgvosLabel.store.video.num_frames")
    page.evaluate("() => { watch.goneMs.clear(); watch.arrivals = []; }")
    for _ in range(count):
        page.evaluate(LEAP, draw.randrange(num_video))
        wait(page, "!watch.goneMs.size")
        time.sleep(0.5)
    return page.evaluate("() => watch.arrivals")


def wait(page: Any, condition: str) -> None:
    """Wait for a condition in JavaScript; the page forbids to evaluate texts, so it is asked from here."""
    end = time.monotonic() + 60
    while not page.evaluate(f"() => Boolean({condition})"):
        assert time.monotonic() < end, f"expected {condition}"
        time.sleep(0.05)


if __name__ == "__main__":
    main()
