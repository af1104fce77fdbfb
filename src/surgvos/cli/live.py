"""``surgvos live``: a stream goes in, and masks come out while it runs."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgvos.cli.option_groups import refuse, with_option_groups
from surgvos.cli.page_options import PageOptions
from surgvos.cli.segment_options import FindingOptions, ModelOptions, PromptOptions
from surgvos.cli.sessions import load_sessions
from surgvos.errors import InputError, SurgvosError

if TYPE_CHECKING:
    from surgvos.live.engine import LiveEngine
    from surgvos.live.outputs import Output
    from surgvos.live.soak import SoakReport
    from surgvos.live.status import Durations, Status
    from surgvos.server.security import Access

_FPS_OF_CAMERAS = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """What is written while it runs."""

    record: Annotated[Path | None, typer.Option(help="Write the picture with its masks to this mp4")] = None
    log: Annotated[Path | None, typer.Option(help="Write a line of JSON per segmented frame to this file")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SoakOptions:
    """How long it has to hold."""

    soak: Annotated[str | None, typer.Option(help="Run so long (90s, 20m, 8h) without a page, and say how it held")] = (
        None
    )
    json: Annotated[Path | None, typer.Option(help="Also write what --soak found to this file")] = None


@with_option_groups
def live(
    source: Annotated[
        str | None, typer.Argument(help="camera:0, rtsp://..., a file to replay at its frame rate, or test-pattern")
    ] = None,
    replay: Annotated[str | None, typer.Option(help="In place of SOURCE: replay this file over and over")] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Show the picture in the browser")] = True,
    *,
    network: ModelOptions,
    shown: PromptOptions,
    finding: FindingOptions,
    serving: PageOptions,
    outputs: OutputOptions,
    soaking: SoakOptions,
) -> None:
    """Segment a stream while it runs; the newest frame wins. Show objects in the page, by click, box or phrase.

        surgvos live camera:0

        surgvos live rtsp://tower/stream --text "large needle driver" --model ref17.pth --record case.mp4

    A prompt of the command line is for the first segmented frame from its number on. Without a page:

        surgvos live case.mp4 --no-page --point 1@0:640,360 --log objects.jsonl

    Does it hold for hours? Latency, drops and memory say so:

        surgvos live --soak 8h --replay case.mp4 --point 1@0:640,360
    """
    chosen = _choose_source(source, replay)
    seconds = _soak_seconds(soaking)
    access = serving.parse() if page and seconds is None else None

    from surgvos.live.engine import LiveEngine
    from surgvos.live.sources import open_live

    opened = open_live(chosen, repeats=replay is not None)
    prompts = shown.parse(opened.name, start=0, direction="forward")
    # A mask that comes in time is worth more here than one that is exact.
    new_session = load_sessions(network, finding.parse(), refine=False)
    engine = LiveEngine(opened, new_session, prompts, lambda sentence: typer.echo(sentence, err=True))
    with ExitStack() as stack:
        writing = _open_outputs(outputs, engine, stack)
        stack.enter_context(engine)
        report = _run(engine, access, serving, seconds)
    _tell(report, soaking.json)
    for failure in (engine.segmenting.failure, *(output.failure for output in writing)):
        if failure is not None:
            raise SurgvosError(str(failure))


def _choose_source(source: str | None, replay: str | None) -> str:
    if (source is None) == (replay is None):
        raise InputError("expected one source; try surgvos live camera:0, or --replay case.mp4 alone")
    return source or replay or ""


def _soak_seconds(soaking: SoakOptions) -> float | None:
    if soaking.soak is None:
        refuse("with --soak", soaking)
        return None
    from surgvos.live.soak import parse_duration

    return parse_duration(soaking.soak)


def _open_outputs(outputs: OutputOptions, engine: LiveEngine, stack: ExitStack) -> list[Output]:
    from surgvos.live.outputs import ObjectLog, Recording

    opened: list[Output] = []
    if outputs.log is not None:
        log = ObjectLog(outputs.log)
        engine.on_answer.append(log.offer)
        opened.append(log)
    if outputs.record is not None:
        recording = Recording(outputs.record, engine.source.fps or _FPS_OF_CAMERAS)
        engine.on_picture.append(recording.offer)
        opened.append(recording)
    for output in opened:
        stack.enter_context(output)
    return opened


def _run(engine: LiveEngine, access: Access | None, serving: PageOptions, seconds: float | None) -> SoakReport:
    """Run until the end of the source, of the time, or Ctrl-C; the page stays open until Ctrl-C."""
    from surgvos.live.soak import Soak

    soak = Soak(engine, lambda minute, status: typer.echo(f"minute {minute}: {_in_short(status)}"))
    try:
        if access is not None:
            from surgvos.server.live.app import LiveServer

            serving.serve(LiveServer(engine).app, access, engine.source.name)
        else:
            soak.watch(seconds)
    except KeyboardInterrupt:
        pass  # the way to end a run that has no end
    return soak.report()


def _tell(report: SoakReport, json: Path | None) -> None:
    """Say how a run went."""
    from dataclasses import asdict

    from surgvos.io.results import write_json_atomic

    status = report.status
    typer.echo(f"{report.seconds:.0f} s: {_in_short(status)}")
    typer.echo(f"from one picture to the next p50 / p95 / p99: {_durations(status.picture_gap)}")
    typer.echo(f"latency of masks p50 / p95 / p99: {_durations(status.latency)}")
    typer.echo(f"age of masks when shown: {_durations(status.mask_age)}")
    if report.memory_slope_mb_per_h is not None:
        first, last = report.memory_mb[0], report.memory_mb[-1]
        slope = f"{report.memory_slope_mb_per_h:+.1f} MB per hour"
        typer.echo(
            f"memory, at most: {first:.0f} MB in minute 1, {last:.0f} MB in minute {len(report.memory_mb)}, {slope}"
        )
    if json is not None:
        write_json_atomic(json, asdict(report))


def _in_short(status: Status) -> str:
    pictures = f"picture {_number(status.picture_fps)} per second (never below {_number(status.picture_fps_lowest)})"
    frames = f"{status.num_segmented} of {status.num_received} frames segmented, {status.num_dropped} dropped"
    return f"{pictures}; {frames}; source lost {status.num_losses} times; {status.memory_mb:.0f} MB"


def _durations(durations: Durations) -> str:
    return f"{_number(durations.p50_ms)} / {_number(durations.p95_ms)} / {_number(durations.p99_ms)} ms"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"
