"""Going through clips: order, memory, gradients, and that it teaches a model something."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from helpers import moving_square_frames
from surgvos.data.clips import Clip, ClipBatch, collate_clips
from surgvos.memory import MemoryBank, MemoryEntry, MemoryQuery, Recent
from surgvos.models.interface import EncodedMemory, ImageFeatures, MaskPrediction, MemoryBatch, PromptBatch
from surgvos.models.nano import NanoModel
from surgvos.models.sam2 import Sam2Config, Sam2Model
from surgvos.tracking.features import IMAGE_MEAN, IMAGE_STD, normalize_images
from surgvos.training.clip import ClipModule, ClipSettings, forward_clip
from surgvos.training.losses import LossSettings
from surgvos.training.noise import MaskNoise
from surgvos.training.prompts import PromptSettings
from training.tiny import TINY_NANO

MASKS_ONLY = PromptSettings(point_probability=0.0)
CLICKS_ONLY = PromptSettings(point_probability=1.0, box_probability=0.0, num_corrections=3)


def _batch(num_frames: int = 3, hw: tuple[int, int] = (64, 64), num_clips: int = 2) -> ClipBatch:
    clips = []
    for seed in range(num_clips):
        frames, masks = moving_square_frames(num_frames, hw=hw, side_px=20, step_px=3, seed=seed)
        clips.append(Clip(np.stack(frames), np.stack(masks)[:, None]))
    return collate_clips(clips)


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class RecordingModel(nn.Module):
    """Answers with a learnt constant, and notes what it is asked."""

    resize = "area"
    max_multimask_points = 1
    num_recent = 1
    shares_keys = False
    compute_dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))
        self.calls: list[str] = []
        self.prompts: list[PromptBatch | None] = []
        self.remembered_grad: list[bool] = []

    def encode_image(self, images: Tensor) -> ImageFeatures:
        self.calls.append(f"encode {images.shape[0]}")
        return ImageFeatures((images.mean(dim=1, keepdim=True)[..., ::4, ::4],))

    def condition(self, features: ImageFeatures, memory: MemoryBatch | None) -> Tensor:
        self.calls.append("condition" if memory is None else f"condition {memory.slots.tolist()[0]}")
        return features.levels[0]

    def decode(
        self, features: ImageFeatures, conditioned: Tensor, prompts: PromptBatch | None, *, multimask: bool
    ) -> MaskPrediction:
        self.prompts.append(prompts)
        batch, candidates = conditioned.shape[0], 3 if multimask else 1
        logits = (conditioned * 0 + self.bias).expand(-1, candidates, -1, -1)
        if prompts is not None and prompts.mask is not None:
            logits = 20 * prompts.mask[:, :, ::4, ::4] - 10
            return MaskPrediction(logits, torch.ones(batch, 1), torch.full((batch,), 10.0))
        iou = torch.full((batch, candidates), 0.5)
        return MaskPrediction(logits, iou, self.bias.expand(batch))

    def encode_memory(
        self, features: ImageFeatures, logits: Tensor, presence_logits: Tensor, *, prompted: bool
    ) -> EncodedMemory:
        self.calls.append(f"remember {'prompted' if prompted else 'followed'}")
        self.remembered_grad.append(logits.requires_grad)
        return EncodedMemory(logits)


@dataclass(frozen=True)
class Watching:
    """A policy that notes the order of what it admits."""

    inner: Recent = field(default_factory=Recent)
    admitted: list[tuple[int, bool]] = field(default_factory=list)

    def select(self, bank: MemoryBank, query: MemoryQuery):  # type: ignore[no-untyped-def]
        return self.inner.select(bank, query)

    def admit(self, bank: MemoryBank, entry: MemoryEntry, query: MemoryQuery) -> None:
        self.admitted.append((entry.frame_index, entry.prompted))
        self.inner.admit(bank, entry, query)


def test_images_are_normalised_to_imagenets_mean_and_deviation() -> None:
    images = torch.randint(0, 256, (2, 3, 5, 7), dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    mean, std = (torch.tensor(x)[:, None, None] for x in (IMAGE_MEAN, IMAGE_STD))
    torch.testing.assert_close(normalize_images(images), (images / 255 - mean) / std, rtol=1e-5, atol=1e-5)
    assert normalize_images(images).is_contiguous(memory_format=torch.channels_last)


def test_masks_are_adopted_and_frames_followed_in_order() -> None:
    model = RecordingModel()
    losses = forward_clip(model, _batch(), ClipSettings(memory=Recent(num_recent=1), prompts=MASKS_ONLY), _generator())
    assert model.calls == [
        "encode 6",
        "condition",
        "remember prompted",
        "condition [0]",
        "remember followed",
        "condition [0, 1]",
    ]
    assert losses.num_items == 2
    # The adopted mask teaches nothing; each followed frame holds presence log 2 for two objects.
    assert losses.parts["presence"].item() == pytest.approx(4 * torch.log(torch.tensor(2.0)).item(), rel=1e-5)


def test_frames_can_be_encoded_one_by_one() -> None:
    model = RecordingModel()
    settings = ClipSettings(memory=Recent(num_recent=1), prompts=MASKS_ONLY, encode_together=False)
    forward_clip(model, _batch(), settings, _generator())
    assert [call for call in model.calls if call.startswith("encode")] == ["encode 2"] * 3


def test_clicks_are_corrected_one_by_one_and_remembered_as_prompted() -> None:
    model, policy = RecordingModel(), Watching()
    forward_clip(model, _batch(), ClipSettings(memory=policy, prompts=CLICKS_ONLY), _generator())
    points = [0 if prompts is None else prompts.num_points for prompts in model.prompts]
    assert points == [1, 2, 3, 4, 0, 0]
    fed_back = [prompts is not None and prompts.previous_logits is not None for prompts in model.prompts]
    assert fed_back == [False, True, True, True, False, False]
    assert policy.admitted == [(0, True)] * 2 + [(1, False)] * 2


def test_further_prompted_frames_come_first_and_corrected_frames_count_as_prompted() -> None:
    prompts = replace(CLICKS_ONLY, max_initial_frames=2, max_corrected_frames=3, num_corrections=1)
    seen = set()
    for seed in range(30):
        policy = Watching()
        forward_clip(RecordingModel(), _batch(4), ClipSettings(memory=policy, prompts=prompts), _generator(seed))
        order = [policy.admitted[i] for i in range(0, len(policy.admitted), 2)]
        prompted = {frame for frame, is_prompted in order if is_prompted}
        assert order[0] == (0, True)
        seen.add((len(prompted), [frame for frame, _ in order] == sorted(frame for frame, _ in order)))
    assert (1, True) in seen  # the first frame alone
    assert any(count == 3 for count, _ in seen)  # another one corrected
    assert any(not ordered for _, ordered in seen)  # a later frame prompted before the ones between


def test_videos_are_scored_from_the_first_mask() -> None:
    model = RecordingModel()
    noise = MaskNoise(island_probability=1)
    settings = ClipSettings(memory=Recent(num_recent=1), prompts=CLICKS_ONLY, memory_noise=noise, prompt_noise=noise)
    batch = _batch()
    losses = forward_clip(model, batch, settings, None)
    assert [prompts is not None for prompts in model.prompts] == [True, False, False]
    assert model.prompts[0] is not None
    assert model.prompts[0].mask is not None
    assert torch.equal(model.prompts[0].mask[:, 0] > 0, batch.masks[0])
    again = forward_clip(RecordingModel(), batch, settings, None)
    assert losses.total.item() == again.total.item()


def test_images_are_scored_after_clicks_at_the_centres_of_errors() -> None:
    model = RecordingModel()
    with torch.no_grad():
        model.bias.fill_(-1.0)  # nothing is ever found: every click is the object's centre
    batch = _batch(num_frames=1, num_clips=1)
    losses = forward_clip(model, batch, ClipSettings(prompts=CLICKS_ONLY), None)
    last = model.prompts[-1]
    assert last is not None
    assert last.labels.tolist() == [[1, 1, 1, 1]]
    ys, xs = torch.nonzero(batch.masks[0, 0], as_tuple=True)
    centre = torch.tensor([xs.float().mean(), ys.float().mean()])
    assert ((last.points_xy[0] - centre).abs() <= 1).all()
    assert losses.scores["tracked_iou"].item() == 0


def test_gradients_flow_through_remembered_masks_unless_stopped() -> None:
    for stopped in (False, True):
        model = RecordingModel()
        settings = ClipSettings(prompts=CLICKS_ONLY, detach_memory_masks=stopped)
        forward_clip(model, _batch(), settings, _generator())
        assert model.remembered_grad == [not stopped] * 2


def test_noise_spoils_mask_prompts_and_memories_but_not_the_truth() -> None:
    noise = MaskNoise(island_probability=1, hole_probability=0, cut_probability=0, contour_probability=0)
    batch = _batch(num_clips=1)
    model = RecordingModel()
    settings = ClipSettings(prompts=MASKS_ONLY, prompt_noise=noise)
    forward_clip(model, batch, settings, _generator())
    prompts = model.prompts[0]
    assert prompts is not None
    assert prompts.mask is not None
    given, true = prompts.mask[0, 0] > 0, batch.masks[0, 0]
    assert given[true].all()
    assert given.sum() > true.sum()
    plain = forward_clip(RecordingModel(), batch, ClipSettings(prompts=MASKS_ONLY), _generator())
    noisy = forward_clip(RecordingModel(), batch, ClipSettings(prompts=MASKS_ONLY, memory_noise=noise), _generator())
    assert noisy.total.item() == plain.total.item()  # the constant answers are held to the same truth


def test_an_object_that_no_prompt_showed_is_absent() -> None:
    batch = _batch(num_clips=1)
    hidden = batch.masks.clone()
    hidden[0] = False
    unseen = ClipBatch(batch.images, hidden, batch.object_image)
    never = ClipBatch(batch.images, torch.zeros_like(hidden), batch.object_image)
    runs = [forward_clip(RecordingModel(), b, ClipSettings(prompts=MASKS_ONLY), _generator()) for b in (unseen, never)]
    assert runs[0].total.item() == runs[1].total.item()
    assert runs[0].parts["mask"].item() == 0


def test_losses_add_up_over_objects() -> None:
    one, two = _batch(num_clips=1), _batch(num_clips=1)
    both = ClipBatch(
        torch.cat((one.images, two.images), dim=1), torch.cat((one.masks, two.masks), dim=1), torch.tensor([0, 1])
    )
    settings = ClipSettings(prompts=MASKS_ONLY)
    totals = [forward_clip(RecordingModel(), b, settings, _generator()).total.item() for b in (one, both)]
    assert totals[1] == pytest.approx(2 * totals[0], rel=1e-5)


def test_a_small_model_learns_a_fixed_clip() -> None:
    torch.manual_seed(0)
    batch = _batch(num_frames=2)
    settings = ClipSettings(
        memory=Recent(num_recent=1, max_pointers=0),
        prompts=MASKS_ONLY,
        losses=LossSettings(focal=2.0, bce=1.0, at_logits_resolution=True),
        memory_noise=MaskNoise(),
        detach_memory_masks=True,
    )
    module = ClipModule(NanoModel(TINY_NANO), settings).train()
    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-3)
    first = last = None
    for step in range(80):
        last = module(batch, _generator(step))
        first = first or last
        optimiser.zero_grad()
        last.total.backward()
        optimiser.step()
    assert first is not None
    assert last is not None
    assert last.total.item() < 0.3 * first.total.item()
    assert last.scores["tracked_iou"].item() > 0.8
    assert last.scores["presence_accuracy"].item() == 1.0


def test_sam2_takes_part_with_all_of_its_parts() -> None:
    torch.manual_seed(0)
    config = Sam2Config(
        image_size=64,
        embed_dim=16,
        stages=(1, 1, 2, 1),
        global_blocks=(3,),
        windows=(4, 2, 2, 1),
        hidden_dim=32,
        memory_dim=16,
        num_memory_attention_layers=1,
        memory_attention_ffn_dim=32,
        decoder_ffn_dim=32,
        iou_head_dim=32,
    )
    model = Sam2Model(config).train()
    settings = ClipSettings(prompts=replace(CLICKS_ONLY, num_corrections=2))
    losses = forward_clip(model, _batch(), settings, _generator())
    losses.total.backward()
    assert torch.isfinite(losses.total)
    untouched = {name for name, p in model.named_parameters() if p.grad is None}
    # Masks as prompts, absent objects and boxes were not drawn.
    assert all(
        name.startswith(("sam_prompt_encoder.point_embeddings", "no_", "mask_downsample")) for name in untouched
    ), untouched
