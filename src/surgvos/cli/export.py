"""``surgvos export`` and ``surgvos import``: masks for other tools, and masks from them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from surgvos.export.formats import FORMATS, export_video, format_by_name, import_video
from surgvos.export.result_folder import read_results

_NAMES = ", ".join(FORMATS)
_LIST = "\b\n" + "\n".join(f"  {name:<14} {known.summary}" for name, known in FORMATS.items())


def export(
    results: Annotated[Path, typer.Argument(help="Folder that surgvos segment, or surgvos import, has written")],
    to: Annotated[str, typer.Option(help=f"One of {_NAMES}")],
    out: Annotated[Path, typer.Option(help="A new folder; nothing is overwritten")],
    label_space: Annotated[
        str | None, typer.Option(help="What the ids mean: a name such as cadis-2, or a YAML file [as the run says]")
    ] = None,
    video: Annotated[
        str | None, typer.Option(help="The frames, for formats that hold them [the source of the run]")
    ] = None,
) -> None:
    format_by_name(to)
    labelled = read_results(results, label_space=label_space, video=video)
    export_video(labelled, to, out)
    typer.echo(f"{len(labelled)} frames, {len(labelled.labels)} ids in {out}")


def import_(
    source: Annotated[Path, typer.Argument(help="The file, or the folder that holds it")],
    format_name: Annotated[str, typer.Option("--from", help=f"One of {_NAMES}")],
    out: Annotated[Path, typer.Option(help="A new folder for masks/ and label_space.json; nothing is overwritten")],
    label_space: Annotated[
        str | None,
        typer.Option(help="Which id a name has, or what an id means: a name such as cadis-2, or a YAML file"),
    ] = None,
    per_object: Annotated[
        bool, typer.Option("--per-object", help="Write masks/OBJ/FRAME.png, so that objects may overlap")
    ] = False,
) -> None:
    """Turn masks of another tool into what evaluate takes as truth, and segment as prompts.

    \b
    Examples:
      surgvos import annotations.json --from coco --out truth
      surgvos evaluate out truth
      surgvos segment case.mp4 --mask 0:truth/masks/00000.png --out out
    """
    from surgvos.io.label_spaces import find_label_space

    labels = None if label_space is None else find_label_space(label_space)
    num_frames = import_video(source, format_name, out, labels, per_object=per_object)
    typer.echo(f"{num_frames} frames in {out}; ids and names in {out / 'label_space.json'}")


export.__doc__ = f"""Write the masks of a run as other tools read them.

    {_LIST}

    \b
    Example:
      surgvos export out --to coco --out coco
    """
