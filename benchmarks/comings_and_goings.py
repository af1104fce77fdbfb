"""What memories and looking again are worth where objects leave the picture and come back.

    python benchmarks/comings_and_goings.py --out /tmp/comings --clips 12

Synthetic clips are played forward and backward in turn, so that whatever leaves comes back several times. Each object
that its class alone tells apart is asked for by it; nothing else is said, so that an object that is never found is
never found again either. With ``--shown`` each is also shown once, by its true mask in the first frame that shows
enough of it. Every memory is run with and without looking again for what was lost.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np

import surgvos
from surgvos.data.synthetic import SyntheticClip, generate_clip
from surgvos.data.synthetic_phrases import SyntheticPhrasesConfig
from surgvos.evaluation.referring import FindingRules
from surgvos.evaluation.referring_report import evaluate_referring
from surgvos.io.masks import write_label_map
from surgvos.tracking.run import RunSettings, segment_video
from surgvos.tracking.searching import SearchOptions

FIRST_SEED = 8_000_000
RULES = FindingRules(within=15, min_absence=10)


class Played:
    """A clip forward, backward, forward ...: a `VideoSource`."""

    def __init__(self, clip: SyntheticClip, num_turns: int) -> None:
        once = list(range(len(clip.frames)))
        self.order = [i for turn in range(num_turns) for i in (once if turn % 2 == 0 else once[::-1])]
        self.clip = clip

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> surgvos.Frame:
        return surgvos.Frame(index, f"{index:05d}", self.clip.frames[self.order[index]])

    def __iter__(self) -> Iterator[surgvos.Frame]:
        return (self[index] for index in range(len(self)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="surgvos-nano")
    parser.add_argument("--clips", type=int, default=12)
    parser.add_argument("--frames", type=int, default=100, help="Of a clip, before it is played several times.")
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--memories", nargs="+", default=["recent", "pruned", "diverse"])
    parser.add_argument("--shown", action="store_true")
    parser.add_argument("--no-refine", action="store_true", help="Follow by memory alone.")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    model = surgvos.load_model(chosen.model)
    options = surgvos.SessionOptions(refine=not chosen.no_refine)
    scene = dataclasses.replace(
        SyntheticPhrasesConfig().scene, image_hw=(256, 320), num_frames=chosen.frames, recognisable=1.0, reentry=0.5
    )
    for number in range(chosen.clips):
        clip = generate_clip(chosen.first_seed + number, scene)
        asked = {item.id: f"the {item.category}" for item in clip.objects if f"the {item.category}" in item.phrases}
        if not asked:
            continue
        video, name = Played(clip, chosen.turns), f"clip_{number:05d}"
        write_truth(video, asked, chosen.out / "truth" / name)
        for memory, again in product(chosen.memories, (True, False)):
            search = SearchOptions() if again else SearchOptions(lost_after=None)
            session = surgvos.Session(model, memory, options, search)
            for object_id, phrase in asked.items():
                if chosen.shown:
                    index, mask = first_sight(clip, object_id)
                    session.add_prompt(index, object_id, surgvos.MaskPrompt(mask))
                session.add_prompt(0, object_id, surgvos.TextPrompt(phrase))
            segment_video(session, video, runs_of(chosen.out, memory, again) / name, RunSettings(), {})
    print("memory   looks again   J&F   found again in 15 frames   false presence")
    for memory, again in product(chosen.memories, (True, False)):
        report = evaluate_referring(runs_of(chosen.out, memory, again), chosen.out / "truth", rules=RULES)
        found = report.score()
        print(
            f"{memory:8} {'yes' if again else 'no':11} {report.regions.mean.jaccard_and_boundary_f:5.1f} "
            f"{found.found_again or 0:14.1f} {found.false_presence or 0:25.1f}"
        )


def first_sight(clip: SyntheticClip, object_id: int) -> tuple[int, np.ndarray]:
    """The first frame that shows at least half as much of an object as it ever shows, and its mask there."""
    areas = (clip.instances == object_id).sum(axis=(1, 2))
    index = int(np.argmax(areas >= areas.max() / 2))
    return index, clip.instances[index] == object_id


def write_truth(video: Played, asked: dict[int, str], folder: Path) -> None:
    """Label maps of what is asked for."""
    folder.mkdir(parents=True)
    for index, place in enumerate(video.order):
        labels = video.clip.instances[place]
        write_label_map(folder / f"{index:05d}.png", np.where(np.isin(labels, list(asked)), labels, 0))


def runs_of(out: Path, memory: str, again: bool) -> Path:
    """Folder of the runs of one setting."""
    return out / f"{memory}_{'again' if again else 'once'}"


if __name__ == "__main__":
    main()
