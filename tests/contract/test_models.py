"""What every kind of model promises, in a size that takes no time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from surgvos.models.families import FAMILIES
from surgvos.models.interface import ABSENT_LOGIT, ImageFeatures, MaskPrediction, MemoryBatch, PromptBatch
from surgvos.models.nano import NanoConfig, ReferringNanoConfig
from surgvos.models.resurg import ResurgConfig
from surgvos.models.sam2 import Sam2Config
from surgvos.models.text.clip import ClipTextTower
from tiny_clip import WIDTH, tiny_clip_folder

SIDE = 128
NUM_OBJECTS = 3

TOYS: dict[str, Any] = {
    "sam2": Sam2Config(
        image_size=SIDE,
        embed_dim=8,
        stages=(1, 1, 2, 1),
        global_blocks=(3,),
        hidden_dim=32,
        memory_dim=16,
        num_memory_attention_layers=1,
        memory_attention_ffn_dim=32,
        memory_attention_dropout=0.0,
        decoder_ffn_dim=32,
        iou_head_dim=32,
    ),
    "resurgsam2": ResurgConfig(
        image_size=SIDE,
        embed_dim=8,
        stages=(1, 1, 2, 1),
        global_blocks=(3,),
        hidden_dim=32,
        memory_dim=16,
        num_memory_attention_layers=1,
        memory_attention_ffn_dim=32,
        memory_attention_dropout=0.0,
        decoder_ffn_dim=32,
        iou_head_dim=32,
        text_dim=WIDTH,
        projection_dim=32,
        fusion_ffn_dim=32,
        fusion_dropout=0.0,
        prompt_dropout=0.0,
        fusion_drop_path=0.0,
    ),
    "nano": NanoConfig(
        widths=(8, 8, 16, 16),
        depths=(1, 1, 1),
        decoder_widths=(8, 8, 16, 16, 16),
        head_dim=8,
        input_area_px=SIDE * SIDE,
    ),
    "referring_nano": ReferringNanoConfig(
        widths=(8, 8, 16, 16),
        depths=(1, 1, 1),
        decoder_widths=(8, 8, 16, 16, 16),
        head_dim=8,
        input_area_px=SIDE * SIDE,
        context_width=16,
        place_width=16,
        mask_width=16,
        name_width=8,
        text_width=16,
        num_buckets=64,
        text_depth=1,
        joint_depth=1,
    ),
}
"""The smallest configuration of each kind. A new kind is one line here."""

UNUSED = {
    "sam2": {"no_mem_pos_enc"},
    "resurgsam2": {"no_mem_pos_enc"},
    "nano": set(),
    "referring_nano": {
        "object_finder.to_quality.weight",
        "object_finder.to_quality.bias",
        "phrase_matcher.part.weight",
        "phrase_matcher.part.bias",
        "phrase_name.weight",
        "phrase_name.bias",
        "phrase_sharpness",
    },
}
"""Parameters that published files hold and nothing reads, and those that only choose, which their own losses teach."""

PROMPT_KINDS = ("click", "clicks", "box", "box_and_click", "mask", "correction")

each_model = pytest.mark.parametrize("family", FAMILIES)
each_prompt = pytest.mark.parametrize("kind", PROMPT_KINDS)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small products, whose order of summation shall not depend on the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def model_of(family: str) -> Any:
    """A toy whose every parameter is random, so that nothing is left out by a zero."""
    torch.manual_seed(0)
    model = FAMILIES[family].model_class(TOYS[family]).eval()
    if hasattr(model, "language"):
        model.language = ClipTextTower(tiny_clip_folder())
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith("image_encoder.") and "norm" not in name:
                parameter.add_(0.05 * torch.randn_like(parameter))
    return model


@each_model
def test_inputs_of_another_size_need_no_other_weights(family: str) -> None:
    model = model_of(family)
    larger = FAMILIES[family].model_class(TOYS[family].with_image_size(2 * SIDE))
    larger.load_state_dict(model.state_dict())
    (height, width), (own_height, own_width) = larger.input_hw((SIDE, SIDE)), model.input_hw((SIDE, SIDE))
    assert height * width == 4 * own_height * own_width


def images(num_images: int = 1, seed: int = 1) -> Tensor:
    return torch.randn(num_images, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def prompts_of(kind: str, model: Any, features: ImageFeatures) -> PromptBatch:
    """Prompts of `NUM_OBJECTS` objects, each its own."""
    clicks = torch.tensor([[[20.0, 30.0]], [[64.0, 64.0]], [[100.5, 90.25]]])
    boxes = torch.tensor([[[4.0, 8.0], [60.0, 70.0]], [[30.0, 30.0], [90.0, 100.0]], [[70.0, 60.0], [126.0, 120.0]]])
    on_object = torch.ones(NUM_OBJECTS, 1, dtype=torch.int64)
    corners = torch.tensor([[2, 3]]).expand(NUM_OBJECTS, 2)
    click = PromptBatch(clicks, on_object)
    if kind == "click":
        return click
    if kind == "clicks":
        return PromptBatch(torch.cat((clicks, clicks + 9), dim=1), torch.cat((on_object, 0 * on_object), dim=1))
    if kind == "box":
        return PromptBatch(boxes, corners)
    if kind == "box_and_click":
        return PromptBatch(torch.cat((boxes, clicks), dim=1), torch.cat((corners, on_object), dim=1))
    if kind == "mask":
        mask = torch.zeros(NUM_OBJECTS, 1, SIDE, SIDE)
        for slot in range(NUM_OBJECTS):
            mask[slot, 0, 16 * slot : 64 + 16 * slot, 8:72] = 1
        return PromptBatch(torch.zeros(NUM_OBJECTS, 0, 2), torch.zeros(NUM_OBJECTS, 0, dtype=torch.int64), mask)
    with torch.no_grad():
        first = model.decode(features, model.condition(features, None), click, multimask=False)
    return PromptBatch(clicks + 5, on_object, previous_logits=first.logits.detach().clamp(-32, 32))


def memory_of(model: Any, features: ImageFeatures, num_memories: int = 2) -> MemoryBatch:
    """What `NUM_OBJECTS` objects left behind in as many earlier frames."""
    held = []
    for age in range(num_memories):
        seen = model.encode_image(images(seed=10 + age))
        prompts = prompts_of("mask", model, seen)
        first = model.decode(seen, model.condition(seen, None), prompts, multimask=False)
        logits = first.logits.roll(4 * age, dims=-1)
        held.append((model.encode_memory(seen, logits, first.presence_logits, prompted=age == 0), first.pointers))
    memories = [memory for memory, _ in held]
    pointers = [tokens[:, 0] for _, tokens in held if tokens is not None]
    keys = [memory.keys for memory in memories if memory.keys is not None]
    slots = torch.arange(num_memories).flip(0).roll(1)
    return MemoryBatch(
        features=torch.stack([memory.features for memory in memories], dim=1),
        slots=slots.expand(NUM_OBJECTS, -1),
        keys=torch.stack(keys, dim=1) if keys else None,
        pointers=torch.stack(pointers, dim=1) if pointers else None,
        pointer_offsets=torch.linspace(0.1, 1.0, num_memories).expand(NUM_OBJECTS, -1) if pointers else None,
    )


def row(batch: Any, slot: int) -> Any:
    """One object of a batch; what is shared by all stays as it is."""
    if isinstance(batch, Tensor):
        return batch[slot : slot + 1] if batch.shape[0] == NUM_OBJECTS else batch
    if is_dataclass(batch):
        return type(batch)(**{f.name: row(getattr(batch, f.name), slot) for f in fields(batch)})
    return batch


def assert_close(actual: Any, expected: Any, tolerance: float) -> None:
    """Compare every tensor of two answers."""
    for item in fields(expected):
        one, other = getattr(actual, item.name), getattr(expected, item.name)
        assert (one is None) == (other is None), item.name
        if one is not None:
            torch.testing.assert_close(one.float(), other.float(), atol=tolerance, rtol=tolerance, msg=item.name)


def ungated(model: Any) -> Any:
    """The same model in training mode, whose logits are not blotted out where an object is judged absent."""
    return model.train()


def check_prediction(found: MaskPrediction, num_objects: int) -> None:
    num_candidates = found.logits.shape[1]
    assert found.logits.ndim == 4
    assert found.logits.shape[0] == num_objects
    assert found.iou.shape == (num_objects, num_candidates)
    assert found.presence_logits.shape == (num_objects,)
    assert {found.logits.dtype, found.iou.dtype, found.presence_logits.dtype} == {torch.float32}
    assert bool(((found.iou >= 0) & (found.iou <= 1)).all())
    if found.pointers is not None:
        assert found.pointers.shape[:2] == (num_objects, num_candidates)
        assert found.pointers.isfinite().all()
    assert found.logits.isfinite().all()
    assert found.presence_logits.isfinite().all()


def uneven_mean(tensor: Tensor) -> Tensor:
    """A mean whose weights differ, so that no gradient cancels out."""
    return (tensor.float() * torch.linspace(0.5, 1.5, tensor.numel()).view(tensor.shape)).mean()


def test_every_kind_of_model_is_here() -> None:
    assert set(TOYS) == set(UNUSED) == set(FAMILIES)


@each_model
def test_models_state_their_facts(family: str) -> None:
    model = model_of(family)
    assert model.resize in ("bicubic", "area")
    assert model.max_multimask_points >= 0
    assert model.num_recent >= 1
    assert isinstance(model.shares_keys, bool)
    assert model.compute_dtype == torch.float32
    height, width = model.input_hw((1080, 1920))
    assert height % 32 == width % 32 == 0


@each_model
@each_prompt
@torch.no_grad()
def test_prompts_are_answered(family: str, kind: str) -> None:
    model = model_of(family)
    features = model.encode_image(images())
    prompts = prompts_of(kind, model, features)
    for conditioned in (model.condition(features, None), model.condition(features, memory_of(model, features))):
        for multimask in (False, True):
            found = model.decode(features, conditioned, prompts, multimask=multimask)
            check_prediction(found, NUM_OBJECTS)
            absent = found.presence_logits <= 0
            if kind != "mask" and bool(absent.any()):
                assert (found.logits[absent] == ABSENT_LOGIT).all()


@each_model
@torch.no_grad()
def test_a_mask_prompt_is_its_own_answer(family: str) -> None:
    model = model_of(family)
    features = model.encode_image(images())
    prompts = prompts_of("mask", model, features)
    assert prompts.mask is not None
    found = model.decode(features, model.condition(features, None), prompts, multimask=False)
    shrunk = nn.functional.interpolate(prompts.mask, size=found.logits.shape[-2:], mode="area")
    sure = (shrunk == 0) | (shrunk == 1)
    assert ((found.logits > 0) == (shrunk > 0.5))[sure].all()
    assert (found.presence_logits > 0).all()


@each_model
@torch.no_grad()
def test_an_empty_mask_says_absent(family: str) -> None:
    model = model_of(family)
    features = model.encode_image(images())
    prompts = prompts_of("mask", model, features)
    assert prompts.mask is not None
    prompts.mask[1] = 0
    found = model.decode(features, model.condition(features, None), prompts, multimask=False)
    assert (found.presence_logits > 0).tolist() == [True, False, True]
    assert (found.logits[1] < 0).all()


@each_model
@each_prompt
@pytest.mark.parametrize("remembers", [False, True])
@torch.no_grad()
def test_objects_together_are_as_objects_alone(family: str, kind: str, remembers: bool) -> None:
    model = ungated(model_of(family))
    features = model.encode_image(images())
    prompts = prompts_of(kind, model, features)
    memory = memory_of(model, features) if remembers else None
    together = model.decode(features, model.condition(features, memory), prompts, multimask=True)
    for slot in range(NUM_OBJECTS):
        alone = model.condition(features, None if memory is None else row(memory, slot))
        found = model.decode(features, alone, row(prompts, slot), multimask=True)
        assert_close(found, row(together, slot), 2e-4)


@each_model
@torch.no_grad()
def test_memories_of_objects_together_are_as_alone(family: str) -> None:
    model = model_of(family)
    features = model.encode_image(images())
    prompts = prompts_of("mask", model, features)
    found = model.decode(features, model.condition(features, None), prompts, multimask=False)
    together = model.encode_memory(features, found.logits, found.presence_logits, prompted=True)
    for slot in range(NUM_OBJECTS):
        logits, presence = row(found.logits, slot), row(found.presence_logits, slot)
        alone = model.encode_memory(features, logits, presence, prompted=True)
        # Memories may be stored in bfloat16, whose last bit is 1/128.
        torch.testing.assert_close(alone.features.float(), row(together, slot).features.float(), atol=1e-4, rtol=2**-7)


@each_model
@torch.no_grad()
def test_an_image_shared_is_as_an_image_each(family: str) -> None:
    model = ungated(model_of(family))
    features = model.encode_image(images())
    copies = features.take(torch.zeros(NUM_OBJECTS, dtype=torch.int64))
    assert copies.num_images == NUM_OBJECTS
    prompts = prompts_of("box", model, features)
    memory = memory_of(model, features)
    for held in (None, memory):
        shared = model.decode(features, model.condition(features, held), prompts, multimask=True)
        each = model.decode(copies, model.condition(copies, held), prompts, multimask=True)
        assert_close(each, shared, 2e-4)
        logits = shared.logits[:, :1]
        left = [model.encode_memory(f, logits, shared.presence_logits, prompted=False) for f in (features, copies)]
        torch.testing.assert_close(left[1].features, left[0].features, atol=2e-4, rtol=2e-4)


@each_model
@torch.no_grad()
def test_images_together_are_as_images_alone(family: str) -> None:
    model = model_of(family)
    pixels = torch.cat((images(seed=1), images(seed=2)))
    together = model.encode_image(pixels)
    for index in range(2):
        alone = model.encode_image(pixels[index : index + 1])
        for one, both in zip(alone.levels, together.levels, strict=True):
            torch.testing.assert_close(one, both[index : index + 1], atol=1e-4, rtol=1e-4)


@each_model
@torch.no_grad()
def test_models_keep_no_state(family: str) -> None:
    """The same call gives the same answer, whatever was asked in between."""
    model = model_of(family)
    weights = {name: value.clone() for name, value in model.state_dict().items()}

    def answer(seed: int) -> MaskPrediction:
        features = model.encode_image(images(seed=seed))
        memory = memory_of(model, features)
        return model.decode(features, model.condition(features, memory), None, multimask=True)

    first = answer(1)
    answer(2)
    assert_close(answer(1), first, 0.0)
    assert all(torch.equal(weights[name], value) for name, value in model.state_dict().items())


@each_model
@torch.no_grad()
def test_memory_changes_the_answer(family: str) -> None:
    model = ungated(model_of(family))
    features = model.encode_image(images())
    memory = memory_of(model, features)
    with_memory = model.decode(features, model.condition(features, memory), None, multimask=False)
    assert with_memory.logits.shape[0] == NUM_OBJECTS
    assert not torch.allclose(with_memory.logits[0], with_memory.logits[1])


@each_model
@pytest.mark.parametrize("num_memories", [1, 3])
@torch.no_grad()
def test_any_number_of_memories_can_be_read(family: str, num_memories: int) -> None:
    model = model_of(family)
    features = model.encode_image(images())
    memory = memory_of(model, features, num_memories)
    check_prediction(model.decode(features, model.condition(features, memory), None, multimask=True), NUM_OBJECTS)


@each_model
@each_prompt
@torch.no_grad()
def test_bfloat16_runs(family: str, kind: str) -> None:
    model = model_of(family)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = model.encode_image(images())
        prompts = prompts_of(kind, model, features)
        memory = memory_of(model, features)
        found = model.decode(features, model.condition(features, memory), prompts, multimask=True)
    check_prediction(found, NUM_OBJECTS)


@pytest.mark.parametrize("family", ["resurgsam2", "referring_nano"])
@torch.inference_mode()
def test_each_phrase_is_looked_for_in_its_own_image(family: str) -> None:
    model = model_of(family)
    features = model.encode_image(torch.randn(2, 3, SIDE, SIDE))
    text = model.encode_text(["needle driver on the left", "liver", "needle driver on the left"])
    images = torch.tensor([1, 0, 0])
    picked = model.refer(features, (features,), replace(text, image=images))
    apart = model.refer(features.take(images), (features.take(images),), text)
    torch.testing.assert_close(picked.logits, apart.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(picked.presence_logits, apart.presence_logits, rtol=1e-4, atol=1e-4)
    assert not torch.equal(picked.iou[0], picked.iou[2])


@each_model
def test_training_reaches_every_parameter(family: str) -> None:
    model = model_of(family).train()
    features = model.encode_image(images())
    memory = memory_of(model, features)
    answers = [model.decode(features, model.condition(features, memory), None, multimask=True)]
    for kind in PROMPT_KINDS:
        prompts = prompts_of(kind, model, features)
        answers += [
            model.decode(features, model.condition(features, held), prompts, multimask=multimask)
            for held, multimask in ((None, False), (memory, True))
        ]
    if callable(getattr(model, "refer", None)):
        words = ["the needle driver on the left", "liver", "left"]
        if family == "referring_nano":
            torch.nn.init.normal_(model.phrase_matcher.motion.say.weight)  # it begins by saying nothing
        answers.append(model.refer(features, (model.encode_image(images() / 2),), model.encode_text(words)))
    # What only absence uses: an empty mask's pointer, and the memory of an object that is judged absent.
    empty = PromptBatch(torch.zeros(1, 0, 2), torch.zeros(1, 0, dtype=torch.int64), torch.zeros(1, 1, SIDE, SIDE))
    answers.append(model.decode(features, model.condition(features, None), empty, multimask=False))
    absent = model.encode_memory(features, answers[0].logits[:, :1], torch.full((NUM_OBJECTS,), -5.0), prompted=False)
    total = absent.features.square().mean()
    for found in answers:
        tensors = [getattr(found, item.name) for item in fields(found)]
        total = total + sum(uneven_mean(tensor) for tensor in tensors if tensor is not None and tensor.requires_grad)
    total.backward()
    missed = {
        name for name, parameter in model.named_parameters() if parameter.grad is None or not parameter.grad.any()
    }
    assert missed == UNUSED[family]


@each_model
def test_training_keeps_logits_of_absent_objects(family: str) -> None:
    """A blotted-out mask would teach nothing."""
    model = ungated(model_of(family))
    features = model.encode_image(images())
    found = model.decode(
        features, model.condition(features, None), prompts_of("click", model, features), multimask=True
    )
    assert (found.logits > ABSENT_LOGIT).all()
    assert found.logits.requires_grad
