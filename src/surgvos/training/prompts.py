"""What a user might do: masks, boxes, clicks and corrections drawn from the true masks.

Coordinates are pixel indices of the model's input, as in SAM 2. Letters: ``B`` objects, ``H W`` input size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from surgvos.data.prompt_protocols import interior_point
from surgvos.errors import ConfigError
from surgvos.models.interface import PromptBatch

PromptKind = Literal["mask", "point", "box"]

LOGIT_LIMIT = 32.0  # of the logits that are fed back


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSettings:
    """How prompts are drawn. One draw per batch: all its objects are prompted in the same way.

    Reference: Ravi et al., SAM 2 (arXiv 2408.00714), appendix D.2.2, and its published training code.

    Attributes:
        point_probability: Of clicks or boxes rather than masks. Clips of one frame always get points.
        box_probability: Of a box, where points are drawn.
        max_initial_frames: Most frames prompted at the start: the first, and random others.
        num_corrections: Correcting clicks on each corrected frame, one after the other.
        max_corrected_frames: Most frames with corrections.
        true_click_probability: Of a correcting click drawn from the object instead of from the error.
        box_jitter: Largest shift of a box's side, as a share of the box's size.
        max_box_jitter_px: Limit of that shift.
    """

    point_probability: float = 0.5
    box_probability: float = 0.5
    max_initial_frames: int = 1
    num_corrections: int = 7
    max_corrected_frames: int = 1
    true_click_probability: float = 0.1
    box_jitter: float = 0.1
    max_box_jitter_px: float = 20.0

    def __post_init__(self) -> None:
        for name in ("point_probability", "box_probability", "true_click_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"expected {name} in 0..1, got {getattr(self, name)}")
        if self.max_initial_frames < 1 or self.num_corrections < 0 or self.max_corrected_frames < 0:
            raise ConfigError(
                "expected max_initial_frames >= 1, num_corrections >= 0 and max_corrected_frames >= 0, got "
                f"{self.max_initial_frames}, {self.num_corrections} and {self.max_corrected_frames}"
            )


@dataclass(frozen=True, slots=True)
class PromptPlan:
    """Which frames of a clip are prompted, how, and which are corrected.

    Attributes:
        kind: Of the initial prompts.
        initial_frames: Prompted before anything is followed, the first frame among them.
        corrected_frames: Frames with correcting clicks; empty unless points are drawn.
    """

    kind: PromptKind
    initial_frames: tuple[int, ...]
    corrected_frames: tuple[int, ...]


def draw_plan(num_frames: int, settings: PromptSettings, generator: torch.Generator) -> PromptPlan:
    """Draw the prompts of a batch of clips with ``num_frames`` frames.

    The generator is a CPU one, so that the same plan is drawn on every device.
    """
    points = num_frames == 1 or _chance(settings.point_probability, generator)
    kind: PromptKind = "mask"
    if points:
        kind = "box" if _chance(settings.box_probability, generator) else "point"
    limit = min(settings.max_initial_frames, num_frames)
    extra = _draw_int(0, limit - 1, generator)
    order = (torch.randperm(num_frames - 1, generator=generator) + 1).tolist()
    initial = (0, *sorted(order[:extra]))
    corrected: tuple[int, ...] = ()
    most = min(settings.max_corrected_frames, num_frames)
    if points and settings.num_corrections and most:
        count = _draw_int(1, most, generator)
        corrected = (*initial[:count], *sorted(order[extra : extra + count - len(initial)]))[:count]
    return PromptPlan(kind, initial, corrected)


def evaluation_plan(num_frames: int) -> PromptPlan:
    """What is done to score a model: a mask in the first frame; in a single image, clicks."""
    if num_frames > 1:
        return PromptPlan("mask", (0,), ())
    return PromptPlan("point", (0,), (0,))


def draw_prompts(kind: PromptKind, masks: Tensor, settings: PromptSettings, generator: torch.Generator) -> PromptBatch:
    """Draw the first prompt of every object.

    Args:
        kind: What is drawn.
        masks: bool ``(B, H, W)`` true masks. An object that is not visible gets an empty mask, a background click
            or, instead of a box, padding.
        settings: How it is drawn.
        generator: On the CPU.
    """
    if kind == "mask":
        return mask_prompts(masks)
    if kind == "box":
        return _draw_boxes(masks, settings, generator)
    return _clicks(masks, _draw_pixels(_where_visible_else_background(masks), generator))


def draw_correction(
    prompts: PromptBatch,
    logits: Tensor,
    masks: Tensor,
    settings: PromptSettings,
    generator: torch.Generator,
) -> PromptBatch:
    """Add one click where the prediction is wrong.

    Args:
        prompts: What was given so far.
        logits: ``(B, 1, h, w)`` the answer to it; fed back with the click.
        masks: bool ``(B, H, W)`` true masks.
        settings: How clicks are drawn.
        generator: On the CPU.
    """
    if _chance(settings.true_click_probability, generator):
        region = _where_visible_else_background(masks)
    else:
        region = _errors(_threshold(logits, masks.shape[-2:]), masks)
    return add_click(prompts, _clicks(masks, _draw_pixels(region, generator)), logits)


def mask_prompts(masks: Tensor) -> PromptBatch:
    """The masks ``(B, H, W)`` themselves."""
    return replace(no_prompts(masks), mask=masks[:, None].float())


def no_prompts(masks: Tensor) -> PromptBatch:
    """Nothing yet, for the objects of masks ``(B, H, W)``."""
    none = torch.zeros((len(masks), 0, 2), device=masks.device)
    return PromptBatch(none, none[..., 0].long())


def centre_prompts(masks: Tensor) -> PromptBatch:
    """The first click that evaluations use: the point of each object ``(B, H, W)`` farthest from its boundary."""
    return _clicks(masks, error_centres(_where_visible_else_background(masks)))


def centre_correction(prompts: PromptBatch, logits: Tensor, masks: Tensor) -> PromptBatch:
    """Add the click that evaluations use: the point of the error farthest from its boundary."""
    region = _errors(_threshold(logits, masks.shape[-2:]), masks)
    return add_click(prompts, _clicks(masks, error_centres(region)), logits)


def add_click(prompts: PromptBatch, click: PromptBatch, logits: Tensor) -> PromptBatch:
    """Append a click to the points, and feed back the logits that it corrects."""
    return replace(
        prompts,
        points_xy=torch.cat((prompts.points_xy, click.points_xy), dim=1),
        labels=torch.cat((prompts.labels, click.labels), dim=1),
        mask=None,
        previous_logits=logits.detach().clamp(-LOGIT_LIMIT, LOGIT_LIMIT),
    )


def error_centres(region: Tensor) -> Tensor:
    """The pixel of each region ``(B, H, W)`` that lies farthest from outside: int64 ``(B, 2)`` as (x, y).

    What lies beyond the image counts as outside.
    """
    centres = [interior_point(mask) for mask in region.cpu().numpy()]
    return torch.tensor(centres, device=region.device).reshape(-1, 2)


def _errors(predicted: Tensor, masks: Tensor) -> Tensor:
    """Wrong pixels; where there are none, the background, for a click that changes nothing."""
    wrong = predicted ^ masks
    flawless = ~wrong.flatten(1).any(dim=1)
    return wrong | (flawless[:, None, None] & ~masks)


def _where_visible_else_background(masks: Tensor) -> Tensor:
    return torch.where(masks.flatten(1).any(dim=1)[:, None, None], masks, True)


def _threshold(logits: Tensor, size: torch.Size) -> Tensor:
    if logits.shape[-2:] != size:
        logits = torch.nn.functional.interpolate(
            logits.detach().float(), size=size, mode="bilinear", align_corners=False
        )
    return logits[:, 0] > 0


def _clicks(masks: Tensor, points_xy: Tensor) -> PromptBatch:
    """One click per object; it is an object click where it lies on the object."""
    rows = torch.arange(masks.shape[0], device=masks.device)
    labels = masks[rows, points_xy[:, 1], points_xy[:, 0]].long()
    return PromptBatch(points_xy[:, None].float(), labels[:, None])


def _draw_pixels(region: Tensor, generator: torch.Generator) -> Tensor:
    """One random pixel of each region ``(B, H, W)``, none of which may be empty: int64 ``(B, 2)`` as (x, y)."""
    counts = region.flatten(1).cumsum(dim=1, dtype=torch.int32)
    totals = counts[:, -1:]
    # Not every accelerator has float64.
    share = torch.rand((region.shape[0], 1), generator=generator, dtype=torch.float64).float().to(region.device)
    rank = (share * totals).floor().to(torch.int32) + 1
    flat = torch.searchsorted(counts, rank.clamp(max=totals))[:, 0].clamp(max=counts.shape[1] - 1)
    width = region.shape[-1]
    return torch.stack((flat % width, flat // width), dim=1)


def _draw_boxes(masks: Tensor, settings: PromptSettings, generator: torch.Generator) -> PromptBatch:
    corners, visible = tight_boxes(masks)
    height, width = masks.shape[-2:]
    size = (corners[:, 2:] - corners[:, :2]).repeat(1, 2)
    reach = (size * settings.box_jitter).clamp(max=settings.max_box_jitter_px)
    noise = torch.rand(corners.shape, generator=generator).to(masks.device) * 2 - 1
    limit = torch.tensor((width - 1, height - 1), device=masks.device).repeat(2)
    jittered = (corners + noise * reach).clamp(min=0).minimum(limit)
    labels = torch.tensor((2, 3), device=masks.device).expand(len(masks), -1)
    return PromptBatch(jittered.unflatten(1, (2, 2)), torch.where(visible[:, None], labels, -1))


def tight_boxes(masks: Tensor) -> tuple[Tensor, Tensor]:
    """First and last column and row of each mask ``(B, H, W)``: float ``(B, 4)`` as xyxy, and which are not empty."""
    boxes = []
    for occupied in (masks.any(dim=1), masks.any(dim=2)):
        first = occupied.int().argmax(dim=1)
        last = occupied.shape[1] - 1 - occupied.flip(1).int().argmax(dim=1)
        boxes.append((first, last))
    (x0, x1), (y0, y1) = boxes
    return torch.stack((x0, y0, x1, y1), dim=1).float(), masks.flatten(1).any(dim=1)


def _chance(probability: float, generator: torch.Generator) -> bool:
    return torch.rand((), generator=generator).item() < probability


def _draw_int(low: int, high: int, generator: torch.Generator) -> int:
    """An integer in low..high, both included."""
    return int(torch.randint(low, high + 1, (), generator=generator))
