"""``surgvos demo``: the whole of it in a minute, with nothing but what is installed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgvos.cli.progress import progress_bar
from surgvos.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from surgvos.core.prompts import Prompt
    from surgvos.data.synthetic import SyntheticClip

VIDEO = "demo"


def demo(
    out: Annotated[Path, typer.Option(help="New folder for the clip, the masks and the overlays")] = Path(
        "surgvos-demo"
    ),
    model: Annotated[str, typer.Option(help="Name of a model, a weights file, or its folder")] = "surgvos-nano",
    frames: Annotated[int, typer.Option(min=8, max=2000, help="Length of the clip")] = 64,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another operation")] = 3,
) -> None:
    """Make a surgical-like clip, follow its objects from a mask, a click, a box and a phrase, and score what comes out.

    Then let the overseer in the box say what is there, without any prompt, and score its classes in place of objects.

    Nothing is downloaded. Look at the overlays:

        surgvos demo --out demo
    """
    if out.exists() and any(out.iterdir()):
        raise InputError(f"expected a new folder, got {str(out)!r} with something in it; try another --out")

    from surgvos.data.synthetic import SceneConfig, generate_clip, write_clip
    from surgvos.models.registry import load_model
    from surgvos.referring.referrer import reads_phrases

    config = SceneConfig(
        image_hw=(432, 576),
        num_frames=frames,
        surgical_share=1.0,
        num_instruments=(2, 3),
        late_entry=0.0,
        recognisable=1.0,
    )
    clip = generate_clip(seed, config)
    write_clip(clip, out / "scene", VIDEO)
    loaded = load_model(model)
    typer.echo(f"{'prompt':8}{'J&F':>7}{'J':>7}{'F':>7}   percent, mean over {len(_visible_ids(clip))} objects")
    for kind in ("mask", "click", "box", *(["text"] if reads_phrases(loaded) else [])):
        with progress_bar(f"{kind}: frames") as progress:
            _segment(loaded, out / "scene" / "JPEGImages" / VIDEO, out / kind / VIDEO, _prompts(clip, kind), progress)
        _report(out, kind, out / "scene" / "Annotations")
    _write_classes(clip, out / "scene" / "Classes" / VIDEO)
    with progress_bar("overseer: frames") as progress:
        _oversee(loaded, out / "scene" / "JPEGImages" / VIDEO, out / "overseer" / VIDEO, progress)
    _report(out, "overseer", out / "scene" / "Classes")


def _report(out: Path, kind: str, truth: Path) -> None:
    """Score a folder of masks, and say so in a line."""
    from surgvos.evaluation import evaluate_folders

    mean = evaluate_folders(out / kind, truth, "davis").mean
    scores = (mean.jaccard_and_boundary_f, mean.jaccard, mean.boundary_f)
    typer.echo(f"{kind:8}" + "".join(f"{score:7.1f}" for score in scores) + f"   {out / kind / VIDEO / 'overlay.mp4'}")


def _segment(model: Any, images: Path, out: Path, prompts: dict[int, Prompt], progress: Any) -> None:
    from surgvos.io.video import open_video
    from surgvos.tracking.run import RunSettings, segment_video
    from surgvos.tracking.session import Session

    session = Session(model)
    for object_id, prompt in prompts.items():
        session.add_prompt(0, object_id, prompt)
    segment_video(session, open_video(images), out, RunSettings(overlay=True), {"demo": VIDEO}, progress=progress)


def _oversee(model: Any, images: Path, out: Path, progress: Any) -> None:
    """Label the classes that the overseer in the box sees."""
    from surgvos.io.video import open_video
    from surgvos.overseer.load import load_detector
    from surgvos.overseer.oversee import OverseenSession
    from surgvos.tracking.run import RunSettings, segment_video
    from surgvos.tracking.session import Session

    detector = load_detector("surgvos-nano")
    overseen = OverseenSession(Session(model), detector)
    settings, record = RunSettings(overlay=True), {"demo": VIDEO}
    segment_video(
        overseen, open_video(images), out, settings, record, label_space=detector.label_space, progress=progress
    )


def _write_classes(clip: SyntheticClip, folder: Path) -> None:
    """Write the true class of every pixel."""
    from surgvos.data.synthetic_classes import SYNTHETIC_CLASSES, class_maps
    from surgvos.io.masks import write_label_map

    for index, label_map in enumerate(class_maps(clip)):
        write_label_map(folder / f"{index:05d}.png", label_map, SYNTHETIC_CLASSES.palette())


def _visible_ids(clip: SyntheticClip) -> list[int]:
    """Objects that are well visible in the first frame."""
    return [item.id for item in clip.objects if (clip.instances[0] == item.id).sum() >= 200]


def _prompts(clip: SyntheticClip, kind: str) -> dict[int, Prompt]:
    """One prompt of this kind for every object that the first frame shows, and that a phrase tells apart if it must."""
    from surgvos.core.prompts import TextPrompt

    if kind == "text":
        phrases = {item.id: item.phrases for item in clip.objects}
        return {i: TextPrompt(phrases[i][0]) for i in _visible_ids(clip) if phrases[i]}
    return {i: _pointed_at(clip.instances[0] == i, kind) for i in _visible_ids(clip)}


def _pointed_at(mask: np.ndarray, kind: str) -> Prompt:
    from surgvos.core.masks import mask_to_box_xyxy
    from surgvos.core.prompts import BoxPrompt, MaskPrompt, PointPrompt
    from surgvos.data.prompt_protocols import interior_point

    if kind == "mask":
        return MaskPrompt(mask)
    return BoxPrompt(mask_to_box_xyxy(mask)) if kind == "box" else PointPrompt(interior_point(mask))
