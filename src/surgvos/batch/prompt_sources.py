"""Where the prompts of a video come from. All of these are plain values, which any process can be sent."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from surgvos.core.frame import FrameStream, VideoSource
from surgvos.core.masks import label_map_to_masks
from surgvos.core.prompts import MaskPrompt, TextPrompt
from surgvos.data.phrases import Phrase
from surgvos.data.prompt_files import read_prompt_file
from surgvos.data.prompt_protocols import PlacedPrompt, PromptProtocol, prompts_for_video
from surgvos.data.vos_videos import VosVideo
from surgvos.errors import InputError
from surgvos.io.image_folder import list_images
from surgvos.io.masks import read_label_map

PROMPTS = "prompts.json"
"""What was shown in a video, in the folder of its results."""

PROMPT_FILES = ("{video}/" + PROMPTS, "{video}.json", "{video}.png")
"""Where a folder may hold the prompts of a video: lists of prompts, or the label map of its first frame."""

FIRST_ID_OF_NOTHING = 1001
"""From here on phrases are numbered that name no object, above the ids of all data sets."""


class PromptSource(Protocol):
    """Says what is shown of one video."""

    def placed(self, video: FrameStream) -> list[PlacedPrompt]:
        """The prompts, by frame and object.

        Raises:
            InputError: There are none, or what they are read from is damaged.
        """
        ...


@dataclass(frozen=True, slots=True)
class GivenPrompts:
    """Prompts that are there already.

    Attributes:
        prompts: A negative frame counts from the end of the video; a stream has no end, and takes its first frame.
    """

    prompts: tuple[PlacedPrompt, ...]

    def placed(self, video: FrameStream) -> list[PlacedPrompt]:
        num_frames = len(video) if isinstance(video, VideoSource) else 0
        placed = [
            (frame if frame >= 0 else max(num_frames + frame, 0), object_id, prompt)
            for frame, object_id, prompt in self.prompts
        ]
        # In one order, however they were said: a tie between objects goes to the lower id.
        return sorted(placed, key=lambda found: found[:2])


@dataclass(frozen=True, slots=True)
class PromptFolder:
    """A folder of prompts for many videos, found by the name of the video as in `PROMPT_FILES`.

    Attributes:
        folder: The folder.
        video: Name of the video.
        object_ids: Ids to prompt; None prompts all.
    """

    folder: Path
    video: str
    object_ids: frozenset[int] | None = None

    def placed(self, video: FrameStream) -> list[PlacedPrompt]:
        names = [form.format(video=self.video) for form in PROMPT_FILES]
        path = next((self.folder / name for name in names if (self.folder / name).is_file()), None)
        if path is None:
            raise InputError(f"expected {names[0]}, {names[1]} or {names[2]} in {str(self.folder)!r}, got none of them")
        placed = _first_masks(path) if path.suffix == ".png" else read_prompt_file(path, self.video)
        wanted = [found for found in placed if self.object_ids is None or found[1] in self.object_ids]
        if not wanted:
            raise InputError(f"expected prompts of the chosen objects in {str(path)!r}, got none")
        return wanted


@dataclass(frozen=True, slots=True)
class FirstAppearances:
    """Every object of a video's label maps, in the first frame that shows it.

    Attributes:
        video: The video with its label maps.
        protocol: How an object is shown.
        object_ids: Ids to prompt; None prompts all.
    """

    video: VosVideo
    protocol: PromptProtocol
    object_ids: frozenset[int] | None = None

    def placed(self, video: FrameStream) -> list[PlacedPrompt]:
        return prompts_for_video(
            self.video.label_maps(), self.protocol, video=self.video.name, object_ids=self.object_ids
        )


@dataclass(frozen=True, slots=True)
class NamedObjects:
    """The phrases that a data set has for the objects of a video, each asked from its first frame on.

    Phrases of one object compete for it, as phrases of an object always do. One that names nothing is an object of its
    own, from `FIRST_ID_OF_NOTHING` on, so that what it comes across counts as false.

    Attributes:
        images: Folder of the video's frames, whose names say where a phrase starts.
        phrases: Of this video.
        object_ids: Ids to look for; None looks for all, and for what is not there.
    """

    images: Path
    phrases: tuple[Phrase, ...]
    object_ids: frozenset[int] | None = None

    def placed(self, video: FrameStream) -> list[PlacedPrompt]:
        index_of = {path.stem: index for index, path in enumerate(list_images(self.images))}
        of_nothing = [phrase for phrase in self.phrases if phrase.object is None]
        placed: list[PlacedPrompt] = []
        for phrase in self.phrases:
            object_id = phrase.object or FIRST_ID_OF_NOTHING + of_nothing.index(phrase)
            if self.object_ids is not None and object_id not in self.object_ids:
                continue
            if phrase.start is not None and phrase.start not in index_of:
                raise InputError(
                    f"expected a frame {phrase.start!r} in {str(self.images)!r} for the phrase {phrase.phrase!r}, got "
                    "none"
                )
            frame_index = 0 if phrase.start is None else index_of[phrase.start]
            placed.append((frame_index, object_id, TextPrompt(phrase.phrase)))
        if not placed:
            raise InputError(f"expected phrases for objects of {str(self.images)!r}, got none")
        return sorted(placed, key=lambda found: found[:2])


def _first_masks(path: Path) -> list[PlacedPrompt]:
    return [(0, object_id, MaskPrompt(mask)) for object_id, mask in label_map_to_masks(read_label_map(path)).items()]
