"""What a session and its process hold at frame 100, 1000 and 5000 of one video.

python benchmarks/memory_over_time.py --out /tmp/memory
"""

from __future__ import annotations

import argparse
import gc
from pathlib import Path

import psutil
from footage import write_operation

import surgvos
from surgvos.core import label_map_to_masks
from surgvos.io.masks import read_label_map

MOMENTS = (100, 1000, 5000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=2)
    parser.add_argument("--model", default="surgvos-nano")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    video, first = write_operation(chosen.out, MOMENTS[-1] + 1, (432, 576), chosen.objects)
    session = surgvos.Session(surgvos.load_model(chosen.model))
    for object_id, mask in label_map_to_masks(read_label_map(first)).items():
        session.add_prompt(0, object_id, surgvos.MaskPrompt(mask))
    process = psutil.Process()
    print("frame  session bytes  process MiB")
    for result in session.propagate(surgvos.open_video(video)):
        if result.frame_index in MOMENTS:
            gc.collect()
            print(f"{result.frame_index:5}  {session.nbytes:13}  {process.memory_info().rss / 2**20:11.1f}", flush=True)


if __name__ == "__main__":
    main()
