"""How well a model finds by phrase alone what synthetic clips show that it was not trained on.

    python benchmarks/phrases.py --out /tmp/phrases --clips 60

Each object of a clip that has a phrase is asked for by one of them, drawn from a seed, and so is one kind of thing
that the clip does not show. Given are the masks' scores over all frames, whether what was followed was the right
object, and for how many phrases that match nothing nothing was found. With ``--by-motion`` half of all instruments hold
still, and phrases tell what moves in the first frames from what stands still in all of them. With ``--shown`` nothing
is asked: each object is shown once, by its true mask in the first frame that shows it: what following alone is worth.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

import surgvos
from surgvos.core import MaskPrompt, Prompt, TextPrompt
from surgvos.data.synthetic import SyntheticClip, generate_clip, write_clip
from surgvos.data.synthetic.phrases import motion_phrases, motion_phrases_for_none
from surgvos.data.synthetic_phrases import SyntheticPhrasesConfig, foreign_phrase, moves_of
from surgvos.evaluation.referring_report import evaluate_referring
from surgvos.io.masks import write_label_map
from surgvos.referring.start import CredibleStart
from surgvos.tracking.run import RunSettings, segment_video
from surgvos.tracking.searching import SearchOptions

FIRST_SEED = 7_000_000  # training draws its seeds from another generator
NOTHING = 200  # object id of the phrase that matches nothing
MIN_AREA_SHARE = 0.002
JUDGED_FRAMES = range(1, 6)  # in which what a phrase says of motion is true


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="surgvos-nano")
    parser.add_argument("--memory", default="recent")
    parser.add_argument("--clips", type=int, default=60)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--first-seed", type=int, default=FIRST_SEED)
    parser.add_argument("--min-presence", type=float, help="Of `CredibleStart`.")
    parser.add_argument("--min-iou", type=float, help="The same.")
    parser.add_argument("--min-overlap", type=float, help="The same.")
    parser.add_argument("--by-motion", action="store_true")
    parser.add_argument("--shown", action="store_true")
    parser.add_argument("--size", type=int, help="Input size; see `surgvos segment --size`.")
    parser.add_argument("--no-refine", action="store_true", help="Follow by memory alone.")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    model = surgvos.load_model(chosen.model, image_size=chosen.size)
    scene = dataclasses.replace(SyntheticPhrasesConfig().scene, image_hw=(256, 320), num_frames=chosen.frames)
    if chosen.by_motion:
        scene = dataclasses.replace(scene, rest=0.5)
    clips = (generate_clip(chosen.first_seed + number, scene) for number in range(chosen.clips + 1))
    search = search_options(min_presence=chosen.min_presence, min_iou=chosen.min_iou, min_overlap=chosen.min_overlap)
    options = surgvos.SessionOptions(refine=not chosen.no_refine)
    clip = next(clips)
    for number, other in enumerate(clips):
        rng = np.random.default_rng(number)
        asked = choose_by_motion(clip, rng) if chosen.by_motion else choose_phrases(clip, other, rng)
        prompts = shown_once(clip, asked) if chosen.shown else {i: (0, TextPrompt(p)) for i, p in asked.items()}
        if prompts:
            session = surgvos.Session(model, chosen.memory, options, search)
            follow(session, clip, prompts, chosen.out, f"clip_{number:05d}")
        clip = other
    report = evaluate_referring(chosen.out / "runs", chosen.out / "truth")
    regions, found = report.regions.mean, report.score()
    print(f"J&F {regions.jaccard_and_boundary_f:.1f}  J {regions.jaccard:.1f}  F {regions.boundary_f:.1f}")
    for name, value in found.to_json().items() if not chosen.shown else ():
        print(f"{name:16} {'-' if value is None else f'{value:.1f}'}")


def search_options(**thresholds: float | None) -> SearchOptions:
    """What is certain enough to be followed: with none given, what the model's answers call for."""
    given = {name: value for name, value in thresholds.items() if value is not None}
    return SearchOptions(start=CredibleStart(**given)) if given else SearchOptions()


def choose_phrases(clip: SyntheticClip, other: SyntheticClip, rng: np.random.Generator) -> dict[int, str]:
    """Object id -> what is asked for."""
    asked = {}
    for item in clip.objects:
        areas = (clip.instances == item.id).sum(axis=(1, 2))
        first = areas[areas > 0][0]
        if item.phrases and first >= MIN_AREA_SHARE * clip.instances[0].size:
            asked[item.id] = str(rng.choice(item.phrases))
    absent = foreign_phrase(clip, other, rng)
    return asked | ({} if absent is None else {NOTHING: absent})


def choose_by_motion(clip: SyntheticClip, rng: np.random.Generator) -> dict[int, str]:
    """Object id -> what is asked for, true in each of the first frames."""
    moves = [moves_of(clip, frame) for frame in JUDGED_FRAMES]
    asked = {}
    for item in clip.objects:
        if all(item.id in names for names, _ in moves):
            phrases = set.intersection(*(set(motion_phrases(item.id, *of_frame)) for of_frame in moves))
            if phrases:
                asked[item.id] = str(rng.choice(sorted(phrases)))
    absent = set.intersection(*(set(motion_phrases_for_none(*of_frame)) for of_frame in moves))
    return asked | ({NOTHING: str(rng.choice(sorted(absent)))} if absent else {})


def shown_once(clip: SyntheticClip, asked: Mapping[int, str]) -> dict[int, tuple[int, Prompt]]:
    """Object id -> the first frame that shows it, and its mask there."""
    masks = {i: clip.instances == i for i in asked if i != NOTHING}
    firsts = {i: int(mask.any(axis=(1, 2)).argmax()) for i, mask in masks.items()}
    return {i: (first, MaskPrompt(masks[i][first])) for i, first in firsts.items()}


def follow(
    session: surgvos.Session, clip: SyntheticClip, prompts: Mapping[int, tuple[int, Prompt]], out: Path, name: str
) -> None:
    """Write a clip, its truth, and what a session finds in it."""
    write_clip(clip, out / "clips", name)
    truth = np.where(np.isin(clip.instances, list(prompts)), clip.instances, 0)
    (out / "truth" / name).mkdir(parents=True)
    for index, labels in enumerate(truth):
        write_label_map(out / "truth" / name / f"{index:05d}.png", labels)
    for object_id, (index, prompt) in prompts.items():
        session.add_prompt(index, object_id, prompt)
    video = surgvos.open_video(out / "clips" / "JPEGImages" / name)
    asked = {str(i): prompt.phrase for i, (_, prompt) in prompts.items() if isinstance(prompt, TextPrompt)}
    segment_video(session, video, out / "runs" / name, RunSettings(), {"asked": asked})


if __name__ == "__main__":
    main()
