"""``surgvos data nnunet``: data sets and videos to nnU-Net v2, and its predictions back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from surgvos.cli.sizes import parse_size

app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Give data sets and videos to nnU-Net v2; take its predictions."
)

Size = Annotated[
    str | None, typer.Option(help="Width x height to which frames are brought, such as 128x128 [their own]")
]


@app.command()
def export(
    source: Annotated[Path, typer.Argument(help="A prepared data set with label maps of classes.")],
    out: Annotated[Path, typer.Option(help="nnUNet_raw, or another folder for DatasetXXX_Name.")],
    number: Annotated[int, typer.Option("--id", min=1, max=999, help="Its number for nnU-Net.")],
    name: Annotated[str, typer.Option(help="Its name for nnU-Net.")],
    labels: Annotated[str | None, typer.Option(help="Which Labels/... of the data set [the only one]")] = None,
    label_space: Annotated[
        str | None, typer.Option(help="What their values mean: a name or a YAML file [the data set's own]")
    ] = None,
    size: Size = None,
) -> None:
    """Write a prepared data set for nnU-Net: train to imagesTr and labelsTr, valid to imagesTs and labelsTs.

    Classes are numbered from 1, background is 0. splits_final.json has five folds by operation.

    \b
    Example:
      surgvos data nnunet export data/cadis --out nnUNet_raw --id 666 --name CaDIS --labels experiment2 --size 128x128
    """
    from surgvos.cli.progress import progress_bar
    from surgvos.data.nnunet_layout import NnunetDataSet, export_dataset, label_family
    from surgvos.io.label_spaces import find_label_space

    space = None if label_space is None else find_label_space(label_space)
    family, space = label_family(source, labels, space)
    target = NnunetDataSet(
        number=number, name=name, label_space=space, image_hw=None if size is None else parse_size(size)
    )
    with progress_bar("frames") as progress:
        folder = export_dataset(source, out, family, target, progress)
    typer.echo(f"{len(space)} classes in {folder}; next: nnUNetv2_plan_and_preprocess -d {number}")


@app.command()
def frames(
    sources: Annotated[list[str], typer.Argument(help="Video files or folders of images.")],
    out: Annotated[Path, typer.Option(help="Folder for the frames, to be given to nnUNetv2_predict -i.")],
    size: Size = None,
) -> None:
    """Write the frames of videos to be predicted by nnU-Net, at the size that it was trained on.

    \b
    Example:
      surgvos data nnunet frames case.mp4 --out frames --size 128x128
    """
    from surgvos.data.nnunet_layout import export_frames
    from surgvos.io.video import open_video

    image_hw = None if size is None else parse_size(size)
    for source in sources:
        path = Path(source)
        num_frames = export_frames(open_video(source), path.name if path.is_dir() else path.stem, out, image_hw)
        typer.echo(f"{num_frames} frames of {source} in {out}")


@app.command(name="import")
def import_(
    predictions: Annotated[Path, typer.Argument(help="Folder that nnU-Net predicted or post-processed into.")],
    out: Annotated[Path, typer.Option(help="Folder for VIDEO/FRAME.png.")],
    label_space: Annotated[str, typer.Option(help="Of the classes: a name such as cadis-2, or a YAML file.")],
) -> None:
    """Turn predictions of nnU-Net into label maps, to be scored or to serve as an overseer.

    \b
    Example:
      surgvos data nnunet import predictions --out maps --label-space cadis-2
      surgvos segment case.mp4 --out out --overseer maps/case --label-space cadis-2
    """
    from surgvos.data.nnunet_layout import import_predictions
    from surgvos.io.label_spaces import find_label_space

    counts = import_predictions(predictions, out, find_label_space(label_space))
    typer.echo(f"{sum(counts.values())} label maps of {len(counts)} videos in {out}")
