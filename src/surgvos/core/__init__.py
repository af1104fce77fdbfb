"""The vocabulary of SurgVOS: frozen data, no networks, no files."""

from surgvos.core.frame import Frame, FrameStream, VideoSource
from surgvos.core.labels import Label, LabelSpace, object_palette
from surgvos.core.masks import (
    RunLength,
    decode_run_length,
    encode_run_length,
    label_map_to_masks,
    mask_to_box_xyxy,
    masks_to_label_map,
)
from surgvos.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, Prompt, TextPrompt, check_prompt_fits
from surgvos.core.results import FrameResult, ObjectResult, Phase

__all__ = [
    "BoxPrompt",
    "Frame",
    "FrameResult",
    "FrameStream",
    "Label",
    "LabelSpace",
    "MaskPrompt",
    "ObjectResult",
    "Phase",
    "PointPrompt",
    "Prompt",
    "RunLength",
    "TextPrompt",
    "VideoSource",
    "check_prompt_fits",
    "decode_run_length",
    "encode_run_length",
    "label_map_to_masks",
    "mask_to_box_xyxy",
    "masks_to_label_map",
    "object_palette",
]
