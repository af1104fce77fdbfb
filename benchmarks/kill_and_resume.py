"""Kill a long run at random moments, resume it, and compare its files with those of a run that was left alone.

python benchmarks/kill_and_resume.py --minutes 20 --kills 5 --out /tmp/long
"""

from __future__ import annotations

import argparse
import filecmp
import random
import subprocess
import sys
import time
from pathlib import Path

from footage import FPS, write_operation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--height", type=int, default=720)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    num_frames = int(chosen.minutes * 60 * FPS)
    video, first = write_operation(chosen.out, num_frames, (chosen.height, chosen.width))
    whole, killed = chosen.out / "whole", chosen.out / "killed"

    started = time.perf_counter()
    subprocess.run(command(video, first, whole), check=True)
    seconds = time.perf_counter() - started
    print(f"{num_frames} frames in {seconds:.0f} s, {num_frames / seconds:.1f} frames/s, start of the program included")

    draw = random.Random(chosen.seed)
    for kill in range(chosen.kills):
        process = subprocess.Popen(command(video, first, killed, resume=kill > 0), stdout=subprocess.DEVNULL)
        delay = draw.uniform(0.05, 0.9) * seconds / chosen.kills
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            print(f"killed after {delay:.0f} s with {len(list((killed / 'masks').glob('*.png')))} masks on disk")
    subprocess.run(command(video, first, killed, resume=True), check=True)

    names = [
        str(path.relative_to(whole)) for path in sorted(whole.rglob("*")) if path.is_file() and path.name != "run.json"
    ]
    extra = {str(path.relative_to(killed)) for path in killed.rglob("*") if path.is_file()} - {*names, "run.json"}
    _, differing, missing = filecmp.cmpfiles(whole, killed, names, shallow=False)
    print(f"{len(names)} files, {len(differing)} differ, {len(missing)} missing, {len(extra)} too many")
    sys.exit(bool(differing or missing or extra))


def command(video: Path, first: Path, out: Path, *, resume: bool = False) -> list[str]:
    args = [sys.executable, "-m", "surgvos", "segment", str(video), "--mask", f"0:{first}", "--out", str(out)]
    return [*args, "--resume"] if resume else args


if __name__ == "__main__":
    main()
