"""``surgvos data``: make synthetic clips, check data sets."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgvos.errors import InputError, SurgvosError

if TYPE_CHECKING:
    from surgvos.data.synthetic import SceneConfig, SyntheticClip

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Make synthetic clips, check data sets.")
_NUM_SHOWN = 20


@app.command()
def synth(
    out: Annotated[Path, typer.Option(help="Folder of the data set; clips are added to what it holds.")],
    num_clips: Annotated[int, typer.Option(min=1, help="Clips to make.")] = 10,
    first: Annotated[int, typer.Option(min=0, help="Number of the first clip: 100 goes on after 100 clips.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same clips.")] = 0,
    frames: Annotated[int, typer.Option(min=1, help="Frames per clip.")] = 48,
    size: Annotated[str, typer.Option(help="Width x height of the frames.")] = "640x512",
    surgical_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of clips that look surgical; the rest are random shapes.")
    ] = 1.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
) -> None:
    """Make surgical-like clips with exact masks, in the layout of DAVIS, with phrases in objects.json.

    \b
    Example:
      surgvos data synth --out synthetic --num-clips 100 --frames 48 --size 640x512 --workers 4
    """
    from surgvos.cli.progress import progress_bar
    from surgvos.data.synthetic import SceneConfig, write_clip

    config = SceneConfig(image_hw=_parse_size(size), num_frames=frames, surgical_share=surgical_share)
    numbers = range(first, first + num_clips)
    with progress_bar("clips") as progress:
        for num_done, clip in enumerate(_clips(config, seed, numbers, workers)):
            write_clip(clip, out, f"clip_{numbers[num_done]:05d}")
            progress(num_done + 1, num_clips)
    typer.echo(f"{num_clips} clips of {frames} frames in {out}")


def _clips(config: SceneConfig, seed: int, numbers: range, num_workers: int) -> Iterator[SyntheticClip]:
    generate = partial(_generate, config, seed)
    if num_workers == 1:
        yield from map(generate, numbers)
        return
    from multiprocessing import get_context

    with get_context("spawn").Pool(num_workers) as pool:
        yield from pool.imap(generate, numbers)


def _generate(config: SceneConfig, seed: int, number: int) -> SyntheticClip:
    from surgvos.data.synthetic import iterate_clips, use_one_thread

    use_one_thread()
    return next(iterate_clips(config, seed, start=number))


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Holds JPEGImages/<video>/ and Annotations/<video>/.")],
) -> None:
    """Check a data set in the layout of DAVIS: files, sizes, object ids. Exit code 1 where something is wrong.

    \b
    Example:
      surgvos data check synthetic
    """
    from surgvos.cli.progress import progress_bar
    from surgvos.data.vos_check import check_vos_folder, faults_of

    with progress_bar("videos") as progress:
        checks = check_vos_folder(folder, progress)
    num_frames = sum(checked.num_frames for checked in checks)
    num_annotated = sum(checked.num_annotated for checked in checks)
    num_objects = sum(len(checked.objects) for checked in checks)
    num_empty = sum(checked.num_empty for checked in checks)
    typer.echo(f"{len(checks)} videos, {num_frames} frames, {num_annotated} of them annotated ({num_empty} empty)")
    typer.echo(f"{num_objects} objects, seen in {sum(sum(c.objects.values()) for c in checks)} masks")
    faults = list(faults_of(checks))
    for fault in islice(faults, _NUM_SHOWN):
        typer.echo(f"fault: {fault}")
    if len(faults) > _NUM_SHOWN:
        typer.echo(f"... and {len(faults) - _NUM_SHOWN} more")
    if faults:
        raise SurgvosError(f"expected a sound data set, got {len(faults)} fault(s) in {folder}")


def _parse_size(text: str) -> tuple[int, int]:
    width, separator, height = text.partition("x")
    if not (separator and width.isdecimal() and height.isdecimal()):
        raise InputError(f"expected a size such as 640x512, got {text!r}")
    return int(height), int(width)
