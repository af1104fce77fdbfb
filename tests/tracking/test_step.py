"""One step of tracking: together the objects find what each finds alone, whatever each of them reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from surgvos.memory import MemoryBank, MemoryPolicy, MemoryQuery, Pruned, Recent
from surgvos.memory.entry import resolved
from surgvos.models.interface import ImageFeatures, PromptBatch
from surgvos.models.nano import NanoConfig, NanoModel
from surgvos.models.sam2 import Sam2Config, Sam2Model
from surgvos.tracking.step import encode_entries, stack_selections, track_objects

SIDE = 64
NUM_OBJECTS = 3
POLICIES: dict[str, MemoryPolicy] = {
    "newest only": Recent(num_recent=1),
    "pruned": Pruned(recent=Recent(num_recent=3), num_pruned=1),
    "pruned as published": replace(Pruned.published(), recent=Recent(num_recent=3), num_pruned=2),
}


def sam2() -> Any:
    config = Sam2Config(
        image_size=SIDE,
        embed_dim=8,
        stages=(1, 1, 2, 1),
        global_blocks=(3,),
        hidden_dim=32,
        memory_dim=16,
        num_memory_attention_layers=1,
        memory_attention_ffn_dim=32,
        decoder_ffn_dim=32,
        iou_head_dim=32,
    )
    return Sam2Model(config)


def nano() -> Any:
    config = NanoConfig(
        widths=(8, 8, 16, 16),
        depths=(1, 1, 1),
        decoder_widths=(8, 8, 16, 16, 16),
        head_dim=8,
        input_area_px=SIDE * SIDE,
        num_recent=3,
    )
    return NanoModel(config)


@pytest.fixture(params=[sam2, nano], ids=["sam2", "nano"])
def model(request: pytest.FixtureRequest) -> Any:
    """A toy whose every parameter is random, so that what was read is seen in the answer; it sees all objects."""
    torch.manual_seed(0)
    model = request.param().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        decoder = model.mask_decoder if isinstance(model, NanoModel) else model.sam_mask_decoder
        head = decoder.judge[-1] if isinstance(model, NanoModel) else decoder.pred_obj_score_head.layers[-1]
        head.bias[0] += 3.0
    return model


def images(num_frames: int) -> Tensor:
    return torch.randn(num_frames, 1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1))


def prompts(masks: Tensor) -> PromptBatch:
    empty = torch.zeros(len(masks), 0)
    return PromptBatch(empty.unsqueeze(2).expand(-1, -1, 2), empty.long(), mask=masks.float())


def quarters() -> Tensor:
    """Another quarter of the image for each object."""
    masks = torch.zeros(NUM_OBJECTS, 1, SIDE, SIDE)
    half = SIDE // 2
    for number, (row, column) in enumerate([(0, 0), (0, half), (half, 0)]):
        masks[number, :, row : row + half, column : column + half] = 1
    return masks


@torch.inference_mode()
def run(model: Any, policy: MemoryPolicy, objects: list[int]) -> list[list[Tensor]]:
    """Everything that is said of these objects in each frame; object 1 is shown again in frame 5."""
    banks = [MemoryBank() for _ in objects]
    said = []
    for index, image in enumerate(images(8)):
        features, query = model.encode_image(image), MemoryQuery(index)
        again = [slot for slot, number in enumerate(objects) if (index, number) == (5, 1)]
        shown = list(range(len(objects))) if index == 0 else again
        followed = [slot for slot in range(len(objects)) if slot not in shown]
        found: dict[int, Tensor] = {}
        for slots, is_shown in ((shown, True), (followed, False)):
            if slots:
                own = prompts(quarters()[[objects[slot] for slot in slots]]) if is_shown else None
                read = [MemoryBank() if is_shown else banks[slot] for slot in slots]
                step = track_objects(model, features, read, policy, query, own)
                entries = encode_entries(model, features, step.best, index, prompted=is_shown)
                best = step.best
                answers = torch.cat([best.logits.flatten(1), best.iou, best.presence_logits[:, None]], dim=1)
                for slot, entry, answer in zip(slots, entries, answers, strict=True):
                    policy.admit(banks[slot], entry, query)
                    found[slot] = answer
        said.append([found[slot] for slot in range(len(objects))])
    return said


@pytest.mark.parametrize("policy", POLICIES.values(), ids=list(POLICIES))
def test_together_as_alone(model: Any, policy: MemoryPolicy) -> None:
    together = run(model, policy, [0, 1, 2])
    for number in range(NUM_OBJECTS):
        alone = run(model, policy, [number])
        assert all(said[0][:-2].std() > 0 for said in alone), "an object is judged absent, which hides its mask"
        for index, (ours, theirs) in enumerate(zip(together, alone, strict=True)):
            torch.testing.assert_close(
                ours[number], theirs[0], rtol=1e-3, atol=1e-3, msg=lambda m, i=index: f"{i}: {m}"
            )


def filled_banks(model: Any, num_frames: int = 5) -> tuple[list[MemoryBank], ImageFeatures]:
    """Banks after some frames, with gradients, and what is seen next."""
    banks = [MemoryBank() for _ in range(2)]
    frames = [model.encode_image(image) for image in images(num_frames)]
    for index, features in enumerate(frames):
        step = track_objects(model, features, [MemoryBank()] * 2, Recent(), MemoryQuery(index), prompts(quarters()[:2]))
        for bank, entry in zip(
            banks, encode_entries(model, features, step.best, index, prompted=index == 0), strict=True
        ):
            Recent().admit(bank, entry, MemoryQuery(index))
    return banks, frames[-1]


def test_survivors_are_gathered_with_their_slots_and_gradients() -> None:
    torch.manual_seed(0)
    model = sam2()
    banks, features = filled_banks(model)
    policy, query = Pruned(recent=Recent(num_recent=4), num_pruned=2), MemoryQuery(5)
    step = track_objects(model, features, banks, policy, query)
    held = [[entry.features for entry, _ in selection.spatial] for selection in step.selections]
    batch = stack_selections(step.selections)
    assert batch is not None
    assert batch.features.shape[:2] == batch.slots.shape == (2, 3)
    for row, (own, slots) in enumerate(zip(resolved(step.selections), batch.slots.tolist(), strict=True)):
        assert [slot for _, slot in own.spatial] == slots
        assert torch.equal(batch.features[row], torch.stack([entry.features for entry, _ in own.spatial]))
        survivors = {id(entry.features) for entry, _ in own.spatial}
        gradients = torch.autograd.grad(step.best.logits[row].sum(), held[row], allow_unused=True, retain_graph=True)
        for features_, gradient in zip(held[row], gradients, strict=True):
            moved = gradient is not None and bool(gradient.abs().sum() > 0)
            assert moved == (id(features_) in survivors)
    assert [len(frames) for frames in step.attended_frames()] == [3, 3]


def test_keys_that_objects_share_stay_shared_where_they_read_the_same() -> None:
    torch.manual_seed(0)
    model = nano().eval()
    banks, features = filled_banks(model)
    policy = replace(Pruned.first_release(), recent=Recent(num_recent=3), num_pruned=1)
    selections = track_objects(model, features, banks, policy, MemoryQuery(5)).selections
    batch = stack_selections(selections)
    assert batch is not None
    assert batch.keys.shape[:2] == (1, 3)
    assert batch.features.shape[:2] == (2, 3)
