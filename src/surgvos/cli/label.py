"""``surgvos label``: annotate and correct a video in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgvos.errors import ConfigError

if TYPE_CHECKING:
    from surgvos.overseer.detector import Detector
    from surgvos.server.label.annotator import Annotator
    from surgvos.server.label.project import Project
    from surgvos.server.security import Access

NUM_THUMBNAILS = 240


def label(
    source: Annotated[Path, typer.Argument(help="Video file, folder of images, or the folder of a project")],
    project: Annotated[
        Path | None, typer.Option(help="Folder of the project; made where it is missing [NAME-labels]")
    ] = None,
    label_space: Annotated[
        str | None, typer.Option(help="Classes that objects may have: a name such as cadis-2, or a YAML file")
    ] = None,
    model: Annotated[str, typer.Option(help="Name of a model, a weights file, or its folder")] = "surgvos-nano",
    size: Annotated[int | None, typer.Option(min=32, help="Input size of a SAM 2 model [its own]")] = None,
    memory: Annotated[str, typer.Option(help="What is remembered: recent, pruned or diverse")] = "recent",
    overseer: Annotated[
        str | None, typer.Option(help="A detector that suggests what is there; it needs --label-space")
    ] = None,
    export: Annotated[
        Path | None, typer.Option(help="Open no page; write the labelled frames here, in the layout of DAVIS")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen at; all but 127.0.0.1 need a token")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 lets the system choose")] = 8000,
    token: Annotated[
        str | None, typer.Option(envvar="SURGVOS_TOKEN", help="What a browser has to know, 16 letters or more")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser")] = True,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps")] = "auto",
    dtype: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16")] = "auto",
) -> None:
    """Label a video in the browser: click, track, correct, lock; every edit is saved at once.

        surgvos label case.mp4 --label-space cadis-2

    Come back to it, and take it out in the layout that training and scoring read:

        surgvos label case-labels

        surgvos label case-labels --export dataset
    """
    from surgvos.server.label.project import is_project
    from surgvos.server.security import Access

    folder = source if is_project(source) else project or Path(f"{source.resolve().stem}-labels")
    if export is not None:
        _export(folder, export)
        return
    from surgvos.server.serving import check_server_extra

    check_server_extra()
    access = Access(host=host, port=port, token=token)
    opened = _open_project(folder, source, label_space)
    detector = None if overseer is None else _load_overseer(overseer, label_space, opened, device)

    from surgvos.models.registry import load_model
    from surgvos.server.label.annotator import Annotator
    from surgvos.tracking.session import Session

    loaded = load_model(model, device=device, dtype=dtype, image_size=size)
    Session(loaded, memory)  # a wrong name of a policy is said before the page opens
    annotator = Annotator(opened, lambda options: Session(loaded, memory, options), detector)
    _serve(annotator, access, opens_browser=browser)


def _serve(annotator: Annotator, access: Access, *, opens_browser: bool) -> None:
    import webbrowser

    from surgvos.server.label.app import LabelServer
    from surgvos.server.label.engine import Engine
    from surgvos.server.label.pictures import Pictures
    from surgvos.server.label.project import open_labelled_video, video_path
    from surgvos.server.serving import serve

    project = annotator.project
    num_frames = len(project.video)

    def make_app() -> object:
        # A video of its own: what is looked at must not move the reader of what is tracked.
        video = open_labelled_video(video_path(project.folder))
        pictures = Pictures(video, range(0, num_frames, -(-num_frames // NUM_THUMBNAILS)))
        return LabelServer(lambda publish: Engine(annotator, publish), pictures).app()

    def on_ready(found: Access) -> None:
        typer.echo(f"{project.folder}: {found.url()}")
        typer.echo("research use, not a medical device; Ctrl-C stops, nothing is lost")
        if opens_browser:
            webbrowser.open(found.url())

    serve(make_app, access, on_ready)


def _open_project(folder: Path, source: Path, label_space: str | None) -> Project:
    from surgvos.io.label_spaces import find_label_space
    from surgvos.server.label.project import Project, create_project, is_project, open_labelled_video, video_path

    if is_project(folder):
        return Project(folder, open_labelled_video(video_path(folder) if folder == source else source))
    video = open_labelled_video(source)
    create_project(folder, source, video, None if label_space is None else find_label_space(label_space))
    return Project(folder, video)


def _load_overseer(weights: str, label_space: str | None, project: Project, device: str) -> Detector:
    from surgvos.overseer.load import load_detector

    if label_space is None:
        raise ConfigError("expected --label-space with --overseer: what its classes mean")
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
