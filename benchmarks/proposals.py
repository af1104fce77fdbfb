"""How many of an image's objects does the box model outline before anything is asked?

    python benchmarks/proposals.py --images 240

Synthetic images that no training saw; objects that have a phrase and cover at least 0.2 % of their image. Given is how
often some proposal overlaps with the object by an IoU above 0.5 and 0.7, how often some place does by itself (what no
way of putting places together could exceed), and what is missed most.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections import Counter
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

import surgvos
from surgvos.data.synthetic import SyntheticClip, generate_clip
from surgvos.data.synthetic_phrases import SyntheticPhrasesConfig
from surgvos.models.nano import ReferringNano
from surgvos.models.nano.objects import overlap, propose
from surgvos.tracking.features import normalize_images

FIRST_SEED = 7_700_000
MIN_AREA_SHARE = 0.002
STRIDE = 4


class Reached(NamedTuple):
    """Of one object: what it is called, and the highest IoU of a proposal and of a place."""

    name: str
    proposal: float
    place: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="surgvos-nano")
    parser.add_argument("--images", type=int, default=240)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    chosen = parser.parse_args()
    model = surgvos.load_model(chosen.model)
    if not isinstance(model, ReferringNano):
        parser.error(f"expected a model that finds all objects of an image, got {chosen.model!r}; try surgvos-nano")
    scene = dataclasses.replace(SyntheticPhrasesConfig().scene, image_hw=(256, 320), num_frames=1)
    seeds = range(chosen.first_seed, chosen.first_seed + chosen.images)
    objects = [one for seed in tqdm(seeds, leave=False) for one in reached_in(model, generate_clip(seed, scene))]
    print(f"{len(objects)} objects of {chosen.images} images")
    for what, values in (("proposal", [o.proposal for o in objects]), ("place", [o.place for o in objects])):
        shares = (100 * sum(value > least for value in values) / len(values) for least in (0.5, 0.7))
        print(f"some {what:8} above 0.5: {next(shares):.1f} %  above 0.7: {next(shares):.1f} %")
    missed, all_of = Counter(o.name for o in objects if o.proposal <= 0.5), Counter(o.name for o in objects)
    print("missed most: " + ", ".join(f"{name} {count} of {all_of[name]}" for name, count in missed.most_common(6)))


@torch.inference_mode()
def reached_in(model: ReferringNano, clip: SyntheticClip) -> list[Reached]:
    """How well the objects of a clip's first frame are outlined."""
    image = normalize_images(torch.from_numpy(clip.frames[:1].copy()).permute(0, 3, 1, 2))
    with torch.autocast("cpu", model.compute_dtype, enabled=model.compute_dtype != torch.float32):
        maps = model.object_finder(image)
        proposals = propose(maps, model.config.max_objects).outlines[0].flatten(1)
    places = maps.kernels[0].float().flatten(1).T @ maps.outlines[0].float().flatten(1)
    reached = []
    for item in clip.objects:
        truth = torch.from_numpy(clip.instances[0] == item.id).float()
        if item.phrases and truth.mean() >= MIN_AREA_SHARE:
            coarse = (F.avg_pool2d(truth[None], STRIDE) > 0.5).float().flatten(1)
            reached.append(Reached(item.category, _best(proposals, coarse), _best(places, coarse)))
    return reached


def _best(logits: Tensor, truth: Tensor) -> float:
    return float(overlap((logits > 0).float(), truth).max())


if __name__ == "__main__":
    main()
