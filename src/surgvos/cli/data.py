"""``surgvos data``: make synthetic clips, prepare published data sets, check data sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgvos.cli import data_nnunet
from surgvos.cli.sizes import parse_size
from surgvos.errors import InputError, SurgvosError

if TYPE_CHECKING:
    from surgvos.data.dataset import DataSet
    from surgvos.data.operations import OperationSet
    from surgvos.data.synthetic import SceneConfig, SyntheticClip

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Make synthetic clips, prepare and check data sets."
)
app.add_typer(data_nnunet.app, name="nnunet")
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

    config = SceneConfig(image_hw=parse_size(size), num_frames=frames, surgical_share=surgical_share)
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


@app.command(name="list")
def list_() -> None:
    """List the data sets that can be prepared: what they are, which archives they need, where to request them."""
    from surgvos.data.datasets import DATASETS, dataset_by_name
    from surgvos.data.operations import OPERATIONS

    for name in DATASETS:
        dataset = dataset_by_name(name)
        sizes = ", ".join(f"{split} {len(videos)} videos" for split, videos in dataset.splits.items())
        typer.echo(f"{name}: {dataset.title} ({sizes})")
        needs: dict[tuple[str, str], list[str]] = {}
        for archive in dataset.archives:
            place = (archive.access or dataset.access).address
            needs.setdefault(("optional" if archive.optional else "needs", place), []).append(archive.name)
        for (word, place), archives in needs.items():
            typer.echo(f"  {word} {', '.join(archives)} from {place}")
        typer.echo(f"  terms: {dataset.access.licence}")
    typer.echo("then: surgvos data prepare NAME --source DOWNLOADS --out FOLDER")
    typer.echo("whole operations, to be segmented as they are:")
    for known in OPERATIONS.values():
        typer.echo(f"{known.name}: {known.title} from {known.access.address}")
        typer.echo(f"  terms: {known.access.licence}")
    typer.echo("then: surgvos data check FOLDER --dataset NAME")


@app.command()
def prepare(
    name: Annotated[str, typer.Argument(help="A data set of 'surgvos data list'.")],
    source: Annotated[
        list[Path], typer.Option(help="Folder of downloads, unpacked or not, or one archive; can be repeated.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the prepared data set. What is there already is kept.")],
    partial: Annotated[bool, typer.Option(help="Prepare what is there and report what lacks.")] = False,
    as_published: Annotated[bool, typer.Option(help="Leave out published corrections of labels.")] = False,
) -> None:
    """Make a data set ready for training and scoring: frames, object masks, prompts. Nothing is downloaded.

    Archives are read where they are, not unpacked. A run that was stopped goes on when it is repeated.

    \b
    Example:
      surgvos data prepare endovis17 --source downloads --out data/endovis17
    """
    from surgvos.cli.progress import progress_bar
    from surgvos.data.dataset import PrepareOptions
    from surgvos.data.datasets import dataset_by_name
    from surgvos.data.operations import OPERATIONS

    if name in OPERATIONS:
        raise InputError(
            f"expected a data set that is prepared, got {name!r}, whose videos are segmented as they are; "
            f"try 'surgvos data check {source[0]} --dataset {name}'"
        )
    dataset = dataset_by_name(name)
    with progress_bar("frames") as progress:
        done = dataset.prepare(source, out, PrepareOptions(partial=partial, corrections=not as_published), progress)
    kept = done.num_frames - done.num_written
    typer.echo(f"{done.num_videos} videos, {done.num_frames} frames in {out} ({done.num_written} made, {kept} kept)")
    _echo_some("note", done.notes)


@app.command()
def phrases(
    source: Annotated[
        Path, typer.Argument(help="meta_expressions.json, a file of EndoVis-RS, or phrases of your own.")
    ],
    out: Annotated[Path, typer.Option(help="File to write, in the format of docs/datasets.md.")],
) -> None:
    """Convert or check phrases that name objects. Slips of EndoVis-RS are corrected; each correction is shown.

    \b
    Example:
      surgvos data phrases meta_expressions.json --out phrases.json
    """
    from surgvos.data.phrases import write_phrases
    from surgvos.data.phrases_import import import_phrases

    book, changes = import_phrases(source)
    write_phrases(out, book)
    for change in changes:
        typer.echo(f"changed: {change}")
    num_phrases = sum(len(found) for found in book.values())
    num_absent = sum(phrase.object is None for found in book.values() for phrase in found)
    absent = f", {num_absent} of them for what is not there" if num_absent else ""
    typer.echo(f"{num_phrases} phrases of {len(book)} videos in {out}{absent}; {len(changes)} changed")


@app.command()
def check(
    folder: Annotated[
        Path, typer.Argument(help="A prepared data set, a folder of downloads, or JPEGImages/ with Annotations/.")
    ],
    dataset: Annotated[
        str | None, typer.Option(help="A data set of 'surgvos data list'; a prepared one is recognised without.")
    ] = None,
) -> None:
    """Check a data set: files, sizes, object ids, prompts, completeness. Exit code 1 where something is wrong.

    With --dataset, a folder of downloads is checked for what lacks before it is prepared; videos of whole
    operations are listed.

    \b
    Examples:
      surgvos data check synthetic
      surgvos data check downloads --dataset endovis17
    """
    from surgvos.data.dataset_check import recorded_name
    from surgvos.data.datasets import dataset_by_name
    from surgvos.data.operations import OPERATIONS
    from surgvos.data.vos_check import IMAGES, vos_roots

    name = dataset or recorded_name(folder)
    if name in OPERATIONS:
        _check_operations(OPERATIONS[name], folder)
        return
    has_videos = folder.is_dir() and any((root / IMAGES).is_dir() for root in vos_roots(folder))
    if name is not None and not has_videos:
        _check_downloads(dataset_by_name(name), folder)
    else:
        _check_videos(folder, None if name is None else dataset_by_name(name))


def _check_downloads(dataset: DataSet, folder: Path) -> None:
    from surgvos.data.archives import FileTree

    with FileTree.open(folder) as files:
        gaps = dataset.missing(files)
    if gaps:
        _echo_some("lacks", [str(gap) for gap in gaps])
        raise SurgvosError(str(dataset.lacking(gaps, [folder])))
    typer.echo(f"{dataset.name}: all files are there; next: surgvos data prepare {dataset.name} --source {folder}")


def _check_operations(known: OperationSet, folder: Path) -> None:
    from surgvos.data.archives import first_names
    from surgvos.data.operations import find_operations, missing_operations

    found, faults = find_operations(known, folder)
    for operation in found:
        typer.echo(str(operation))
    lacking = missing_operations(known, found)
    rest = f"; not there: {first_names(lacking)}" if lacking else ""
    typer.echo(f"{len(found)} videos of {known.title}{rest}")
    _echo_some("fault", faults)
    if faults:
        raise SurgvosError(f"expected readable videos, got {len(faults)} fault(s) in {folder}")


def _check_videos(folder: Path, dataset: DataSet | None) -> None:
    from surgvos.cli.progress import progress_bar
    from surgvos.data.dataset_check import check_dataset, faults_of_phrases
    from surgvos.data.vos_check import check_vos_folder, faults_of, vos_roots

    with progress_bar("videos") as progress:
        if dataset is None:
            checks, faults = [], []
            for root in vos_roots(folder):
                found = check_vos_folder(root, progress)
                checks += found
                faults += [*faults_of(found), *faults_of_phrases(root, found)]
        else:
            checks, faults = check_dataset(dataset, folder, progress)
    num_frames = sum(checked.num_frames for checked in checks)
    num_annotated = sum(checked.num_annotated for checked in checks)
    num_objects = sum(len(checked.objects) for checked in checks)
    num_empty = sum(checked.num_empty for checked in checks)
    typer.echo(f"{len(checks)} videos, {num_frames} frames, {num_annotated} of them annotated ({num_empty} empty)")
    typer.echo(f"{num_objects} objects, seen in {sum(sum(c.objects.values()) for c in checks)} masks")
    _echo_some("fault", faults)
    if faults:
        raise SurgvosError(f"expected a sound data set, got {len(faults)} fault(s) in {folder}")


def _echo_some(word: str, sentences: Sequence[str]) -> None:
    for sentence in islice(sentences, _NUM_SHOWN):
        typer.echo(f"{word}: {sentence}")
    if len(sentences) > _NUM_SHOWN:
        typer.echo(f"... and {len(sentences) - _NUM_SHOWN} more")
