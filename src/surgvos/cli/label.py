"""``surgvos label``: annotate and correct a video in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgvos.cli.option_groups import with_option_groups
from surgvos.cli.page_options import PageOptions
from surgvos.cli.segment_options import ModelOptions
from surgvos.cli.sessions import load_sessions
from surgvos.errors import ConfigError

if TYPE_CHECKING:
    from surgvos.core.labels import LabelSpace
    from surgvos.overseer.detector import Detector
    from surgvos.server.label.annotator import Annotator
    from surgvos.server.label.project import Project

NUM_THUMBNAILS = 240


@with_option_groups
def label(
    source: Annotated[Path, typer.Argument(help="Video file, folder of images, or the folder of a project")],
    project: Annotated[
        Path | None, typer.Option(help="Folder of the project; made where it is missing [NAME-labels]")
    ] = None,
    label_space: Annotated[
        str | None, typer.Option(help="Classes that objects may have: a name such as cadis-2, or a YAML file")
    ] = None,
    overseer: Annotated[
        str | None,
        typer.Option(help="Suggests what is there: surgvos-nano, or weights with their --label-space"),
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Open no page; write the labelled frames here, in the layout of DAVIS")
    ] = None,
    *,
    network: ModelOptions,
    page: PageOptions,
) -> None:
    """Label a video in the browser: click, track, correct, lock; every edit is saved at once.

        surgvos label case.mp4 --label-space cadis-2

    Come back to it, and take it out in the layout that training and scoring read:

        surgvos label case-labels

        surgvos label case-labels --export dataset
    """
    from surgvos.server.label.project import is_project

    folder = source if is_project(source) else project or Path(f"{source.resolve().stem}-labels")
    if export is not None:
        _export(folder, export)
        return
    access = page.parse()
    space = _find_label_space(label_space, overseer)
    opened = _open_project(folder, source, space)
    detector = None if overseer is None else _load_overseer(overseer, space, opened, network.device)

    from surgvos.server.label.annotator import Annotator

    annotator = Annotator(opened, load_sessions(network), detector)
    page.serve(lambda: _make_app(annotator), access, str(folder))


def _make_app(annotator: Annotator) -> object:
    from surgvos.server.label.app import LabelServer
    from surgvos.server.label.engine import Engine
    from surgvos.server.label.pictures import Pictures
    from surgvos.server.label.project import open_labelled_video, video_path

    project = annotator.project
    num_frames = len(project.video)
    # A video of its own: what is looked at must not move the reader of what is tracked.
    video = open_labelled_video(video_path(project.folder))
    pictures = Pictures(video, range(0, num_frames, -(-num_frames // NUM_THUMBNAILS)))
    return LabelServer(lambda publish: Engine(annotator, publish), pictures).app()


def _find_label_space(name: str | None, overseer: str | None) -> LabelSpace | None:
    """The label space that was named, or else that of an overseer in the box."""
    from surgvos.io.label_spaces import find_label_space

    if name is not None:
        return find_label_space(name)
    if overseer is None:
        return None
    from surgvos.overseer.load import own_label_space

    return own_label_space(overseer)


def _open_project(folder: Path, source: Path, label_space: LabelSpace | None) -> Project:
    from surgvos.server.label.project import Project, create_project, is_project, open_labelled_video, video_path

    if is_project(folder):
        return Project(folder, open_labelled_video(video_path(folder) if folder == source else source))
    video = open_labelled_video(source)
    create_project(folder, source, video, label_space)
    return Project(folder, video)


def _load_overseer(weights: str, label_space: LabelSpace | None, project: Project, device: str) -> Detector:
    from surgvos.overseer.load import load_detector

    detector = load_detector(weights, label_space, device=device)
    known = {entry.name for entry in project.classes}
    unknown = [entry.name for entry in detector.label_space.labels if entry.name not in known]
    if unknown:
        raise ConfigError(
            f"expected an overseer of the project's label space, got the class {unknown[0]!r}; try another --project"
        )
    return detector


def _export(folder: Path, out: Path) -> None:
    from surgvos.server.label.export import export_project

    num_frames = export_project(folder, out)
    typer.echo(f"{num_frames} labelled frames in {out}")
