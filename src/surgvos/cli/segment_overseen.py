"""``surgvos segment --overseer``: a detector says what is there, a tracker keeps it steady."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from surgvos.errors import InputError

if TYPE_CHECKING:
    from surgvos.batch.overseeing import Overseeing


@dataclass(frozen=True, slots=True, kw_only=True)
class OverseerOptions:
    """What is asked of an overseer."""

    overseer: Annotated[
        str | None,
        typer.Option(
            help="A detector that says what is there: surgvos-nano, weights (Mask R-CNN, DETR, Mask2Former), label maps"
        ),
    ] = None
    label_space: Annotated[
        str | None,
        typer.Option(help="What the detector's classes mean: a name such as cadis-2, or a YAML file [its own]"),
    ] = None
    rules: Annotated[
        str | None, typer.Option(help="sasvi [default], sasvi-published, sasvi-published-cadis or first-frame")
    ] = None
    annotated: Annotated[
        Path | None, typer.Option(help="Folder of annotated frames, which the overseer takes as they are")
    ] = None
    no_tracker: Annotated[
        bool, typer.Option("--no-tracker", help="The detector alone, frame by frame: the baseline")
    ] = False
    save_overseer: Annotated[
        bool, typer.Option("--save-overseer", help="Also write what the detector itself saw, to OUT/overseer")
    ] = False
    voter: Annotated[
        str | None, typer.Option(help="A second detector, such as nnU-Net, that decides between two names of one thing")
    ] = None
    instances: Annotated[
        bool, typer.Option("--instances", help="Tell the objects of a class apart; OUT/instances has their ids")
    ] = False
    skip_out_of_body: Annotated[
        bool, typer.Option("--skip-out-of-body", help="Leave out frames that do not show the inside of the body")
    ] = False

    def parse(self, *, by_video: bool) -> Overseeing | None:
        """Check that the options belong together; None where no overseer is asked for.

        Args:
            by_video: Label maps and annotated frames lie in a folder for each video.

        Raises:
            InputError: They do not.
        """
        from surgvos.batch.overseeing import Overseeing
        from surgvos.overseer.load import own_label_space

        if self.overseer is None:
            return None
        if self.label_space is None:
            own_label_space(self.overseer)
        if self.no_tracker and (self.rules is not None or self.annotated is not None):
            raise InputError(
                "expected --no-tracker without --rules and --annotated, got both; there is nothing to decide"
            )
        if self.instances and (self.no_tracker or self.annotated is not None):
            raise InputError(
                "expected --instances without --no-tracker and --annotated, got both; a tracker tells objects apart, "
                "and annotated frames name classes"
            )
        return Overseeing(
            detector=self.overseer,
            label_space=self.label_space,
            rules=None if self.no_tracker else self.rules or "sasvi",
            annotations=self.annotated,
            keeps_detections=self.save_overseer,
            voter=self.voter,
            instances=self.instances,
            skips_out_of_body=self.skip_out_of_body,
            by_video=by_video,
        )
