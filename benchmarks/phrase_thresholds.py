"""From which scores on is what a phrase found to be believed? What `ReferringModel.credible` is chosen by.

    python benchmarks/phrase_thresholds.py --first-seeds 7200000 7600000 9100000 9200000

Each frame of synthetic clips is looked at by itself, with the one before it, as the first step of a search is; then
`CredibleStart` is tried with many thresholds on what was said. Other rules of a session (two phrases for one mask, what
is followed already) are not played. Clips and phrases are those of ``benchmarks/phrases.py``; take other seeds than the
figures there.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

import numpy as np
import torch
from phrases import NOTHING, choose_phrases
from tqdm import tqdm

import surgvos
from surgvos.data.synthetic import SyntheticClip, generate_clip
from surgvos.data.synthetic_phrases import SyntheticPhrasesConfig
from surgvos.models.interface import ReferringModel
from surgvos.referring.start import CredibleStart, Run, Sighting
from surgvos.tracking.features import normalize_images

GOOD = 0.5  # IoU above which an anchor is right


class Looks(NamedTuple):
    """What the looks for one phrase found, frame by frame.

    Attributes:
        sightings: The scores.
        overlaps: IoU of what was found with what is meant.
        is_meant: Whether the phrase means anything.
    """

    sightings: list[Sighting]
    overlaps: list[float]
    is_meant: bool


class Outcome(NamedTuple):
    """Percent: objects found, of those right, and phrases for nothing that found nothing."""

    found: float
    right: float
    nothing: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="surgvos-nano")
    parser.add_argument("--first-seeds", type=int, nargs="+", required=True)
    parser.add_argument("--clips", type=int, default=30, help="For each first seed.")
    parser.add_argument("--presence", type=float, nargs="+", default=[0.5, 0.6, 0.7, 0.8, 0.85, 0.9])
    parser.add_argument("--iou", type=float, nargs="+", default=[0.0, 0.5, 0.6, 0.7, 0.75])
    parser.add_argument("--windows", type=int, nargs="+", default=[5])
    chosen = parser.parse_args()
    model = surgvos.load_model(chosen.model)
    looks = []
    for seed in chosen.first_seeds:
        looks += look_at_clips(model, seed, chosen.clips)
    meant = sum(one.is_meant for one in looks)
    print(f"{meant} phrases for something, {len(looks) - meant} for nothing")
    print("window  presence   IoU   found   of those right   nothing for nothing")
    for window, presence, iou in product(chosen.windows, chosen.presence, chosen.iou):
        of = outcome(looks, CredibleStart(window=window, min_presence=presence, min_iou=iou))
        print(f"{window:6} {presence:9.2f} {iou:5.2f} {of.found:7.1f} {of.right:16.1f} {of.nothing:21.1f}")


def look_at_clips(model: ReferringModel, first_seed: int, num_clips: int) -> list[Looks]:
    """The looks for all phrases of clips."""
    scene = dataclasses.replace(SyntheticPhrasesConfig().scene, image_hw=(256, 320), num_frames=32)
    looks, clip = [], generate_clip(first_seed, scene)
    for number in tqdm(range(num_clips), unit="clip", leave=False):
        other = generate_clip(first_seed + number + 1, scene)
        asked = choose_phrases(clip, other, np.random.default_rng(number))
        if asked:
            looks += look_at_clip(model, clip, asked)
        clip = other
    return looks


@torch.inference_mode()
def look_at_clip(model: ReferringModel, clip: SyntheticClip, asked: dict[int, str]) -> list[Looks]:
    """The looks for some phrases of one clip."""
    looks = {object_id: Looks([], [], object_id != NOTHING) for object_id in asked}
    with torch.autocast("cpu", model.compute_dtype, enabled=model.compute_dtype != torch.float32):
        text, before = model.encode_text(list(asked.values())), []
        for index, (frame, instances) in enumerate(zip(clip.frames, clip.instances, strict=True)):
            image = normalize_images(torch.from_numpy(frame.copy()).permute(2, 0, 1)[None])
            features = model.encode_image(image)
            found = model.refer(features, before, text).best()
            before = [features, *before][: model.num_previous]
            masks = torch.nn.functional.interpolate(found.logits.float(), instances.shape, mode="bilinear") > 0
            presence, iou = found.presence_logits.float().sigmoid().tolist(), found.iou[:, 0].float().tolist()
            for slot, (object_id, one) in enumerate(looks.items()):
                one.sightings.append(Sighting(index, presence[slot], iou[slot]))
                one.overlaps.append(overlap(masks[slot, 0].numpy(), instances == object_id))
    return list(looks.values())


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """IoU of two masks; 0 of two empty ones."""
    return float((a & b).sum() / max((a | b).sum(), 1))


def outcome(looks: Sequence[Looks], start: CredibleStart) -> Outcome:
    """What a rule makes of all looks."""
    anchors = [anchor_of(one.sightings, start) for one in looks]
    meant = [(one, anchor) for one, anchor in zip(looks, anchors, strict=True) if one.is_meant]
    found = [(one, anchor) for one, anchor in meant if anchor is not None]
    right = [one.overlaps[anchor] > GOOD for one, anchor in found]
    nothing = [anchor is None for one, anchor in zip(looks, anchors, strict=True) if not one.is_meant]
    return Outcome(100 * len(found) / max(len(meant), 1), 100 * _share(right), 100 * _share(nothing))


def anchor_of(sightings: Sequence[Sighting], start: CredibleStart) -> int | None:
    """The frame from which a phrase's object is followed, or None."""
    run: Run = ()
    for sighting in sightings:
        run = start.extend(run, sighting)
        anchors = start.anchors(run)
        if anchors:
            return anchors[0].frame_index
    return None


def _share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags) if flags else float("nan")


if __name__ == "__main__":
    main()
