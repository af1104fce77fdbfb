"""SAM 2 beyond the recordings: sizes, batches, gradients, precision, and what each switch does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from models.test_checkpoints import TOY
from surgvos.errors import ConfigError
from surgvos.models.interface import ABSENT_LOGIT, ImageFeatures, MaskPrediction, MemoryBatch, PromptBatch
from surgvos.models.sam2 import Sam2Config, Sam2Model
from surgvos.models.sam2.attention import attend_and_project
from surgvos.models.sam2.hiera import WindowAttention
from surgvos.models.sam2.layers import DropPath
from surgvos.models.sam2.windows import WindowLayout

PRESENCE_BIAS = "sam_mask_decoder.pred_obj_score_head.layers.2.bias"


def toy_model(*, present: bool = True, **changes) -> Sam2Model:
    """A small network with random weights, whose objects are all present or all absent."""
    torch.manual_seed(0)
    model = Sam2Model(replace(TOY, **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
        model.get_parameter(PRESENCE_BIAS).fill_(8.0 if present else -8.0)
    return model


def click(num_objects: int, **changes) -> PromptBatch:
    points = torch.linspace(5, 60, 2 * num_objects).view(num_objects, 1, 2)
    return replace(PromptBatch(points, torch.ones(num_objects, 1, dtype=torch.long)), **changes)


def random_memory(num_objects: int, config: Sam2Config = TOY) -> MemoryBatch:
    generator = torch.Generator("cpu").manual_seed(1)
    grid = config.image_size // 16
    return MemoryBatch(
        torch.randn(num_objects, 3, config.memory_dim, grid, grid, generator=generator).bfloat16(),
        torch.tensor([[0, 2, 1]] * num_objects),
        pointers=torch.randn(num_objects, 2, config.hidden_dim, generator=generator),
        pointer_offsets=torch.rand(num_objects, 2, generator=generator),
    )


def one_object(memory: MemoryBatch, index: int) -> MemoryBatch:
    own = slice(index, index + 1)
    assert memory.pointers is not None
    assert memory.pointer_offsets is not None
    return MemoryBatch(
        memory.features[own],
        memory.slots[own],
        pointers=memory.pointers[own],
        pointer_offsets=memory.pointer_offsets[own],
    )


def track(model: Sam2Model, features: ImageFeatures, memory: MemoryBatch) -> MaskPrediction:
    return model.decode(features, model.condition(features, memory), None, multimask=True)


def random_features(model: Sam2Model, num_images: int = 1) -> ImageFeatures:
    size = model.config.image_size
    return model.encode_image(torch.randn(num_images, 3, size, size, generator=torch.Generator().manual_seed(2)))


def assert_same(ours: MaskPrediction, theirs: MaskPrediction) -> None:
    for field in ("logits", "iou", "presence_logits", "pointers"):
        torch.testing.assert_close(getattr(ours, field), getattr(theirs, field), rtol=1e-4, atol=1e-4)


# --- sizes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [256, 288, 352, 416, 480, 608, 1024])
@torch.inference_mode()
def test_any_input_size(size: int) -> None:
    model = toy_model(image_size=size)
    assert model.input_hw((480, 640)) == (size, size)
    features = random_features(model)
    assert [tuple(level.shape) for level in features.levels] == [
        (1, 4, size // 4, size // 4),
        (1, 8, size // 8, size // 8),
        (1, 32, size // 16, size // 16),
    ]
    prediction = model.decode(features, model.condition(features, None), click(1), multimask=True)
    assert prediction.logits.shape == (1, 3, size // 4, size // 4)
    memory = model.encode_memory(features, prediction.best().logits, prediction.presence_logits, prompted=True)
    assert memory.features.shape == (1, 16, size // 16, size // 16)


def test_images_need_not_be_square() -> None:
    model = toy_model()
    with torch.inference_mode():
        features = model.encode_image(torch.randn(1, 3, 96, 160))
        prediction = model.decode(features, model.condition(features, None), click(1), multimask=False)
    assert prediction.logits.shape == (1, 1, 24, 40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 500}, "multiple of 32, got 500, try 512"),
        ({"stages": (1, 2, 3)}, "four stages"),
        ({"num_heads": 3}, "multiple of num_heads, got 8 and 3"),
        ({"memory_dim": 20}, "got 32 and 20, try 256 and 64"),
        ({"global_blocks": (1,)}, "none that opens a stage"),
        ({"global_blocks": (99,)}, "among 5 blocks"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(TOY, **changes)


def test_shapes_can_be_asked_without_numbers() -> None:
    with torch.device("meta"):
        model = Sam2Model(TOY).eval()
        features = model.encode_image(torch.empty(1, 3, 64, 64))
        memory = random_memory(2)
        memory = MemoryBatch(
            memory.features.to("meta"),
            memory.slots.to("meta"),
            None,
            memory.pointers.to("meta"),
            memory.pointer_offsets.to("meta"),
        )
        assert track(model, features, memory).logits.shape == (2, 3, 16, 16)


# --- windows -------------------------------------------------------------------------------------------------------


@given(window=st.integers(1, 9), height=st.integers(1, 20), width=st.integers(1, 20))
def test_layout_orders_every_token_once(window: int, height: int, width: int) -> None:
    layout = WindowLayout(window, height, width)
    tokens = torch.arange(height * width).view(1, -1, 1)
    ordered = layout.from_grid(tokens)
    assert torch.equal(layout.to_grid(ordered).flatten(), tokens.flatten())
    other = WindowLayout(window + 1, height, width)
    assert torch.equal(layout.reorder(ordered, other), other.from_grid(tokens))
    for group in layout.groups():
        for cut in group.split(ordered)[0, :, :, 0]:
            rows, columns = cut // width, cut % width
            assert len(set((rows // window).tolist())) == len(set((columns // window).tolist())) == 1
            assert len(cut) + group.num_missing == window**2


@given(window=st.sampled_from([2, 4, 6]), height=st.integers(1, 8), width=st.integers(1, 8))
def test_layout_pools_like_the_grid(window: int, height: int, width: int) -> None:
    layout = WindowLayout(window, 2 * height, 2 * width)
    grid = torch.randn(2, 3, 2 * height, 2 * width)
    pooled = layout.pool(layout.from_grid(grid.flatten(2).transpose(1, 2)))
    assert torch.equal(layout.halved().to_grid(pooled), F.max_pool2d(grid, 2))


@settings(deadline=None, max_examples=25)
@given(window=st.sampled_from([4, 6]), height=st.integers(1, 5), width=st.integers(1, 5), pool=st.booleans())
def test_windows_cut_by_the_border_equal_padded_ones(window: int, height: int, width: int, pool: bool) -> None:
    """The published way: pad to whole windows with zeros, and let the padding be attended to."""
    torch.manual_seed(0)
    height, width, num_heads = 2 * height, 2 * width, 2
    attention = WindowAttention(8, 16, num_heads, pool=pool)
    x = torch.randn(1, height, width, 8)
    layout = WindowLayout(window, height, width)
    ours = attention(layout.from_grid(x.flatten(1, 2)), layout)
    ours = (layout.halved() if pool else layout).to_grid(ours)[0]

    rows, columns = -(-height // window), -(-width // window)
    padded = F.pad(x, (0, 0, 0, columns * window - width, 0, rows * window - height))[0]
    theirs = torch.zeros(16, rows * window // (1 + pool), columns * window // (1 + pool))
    for top in range(0, rows * window, window):
        for left in range(0, columns * window, window):
            q, k, v = attention.qkv(padded[top : top + window, left : left + window]).chunk(3, dim=-1)
            if pool:
                q = F.max_pool2d(q.permute(2, 0, 1), 2).permute(1, 2, 0)
            heads = [part.flatten(0, 1).unflatten(-1, (num_heads, -1)).transpose(0, 1) for part in (q, k, v)]
            scores = heads[0] @ heads[1].transpose(1, 2) / heads[0].shape[-1] ** 0.5
            out = attention.proj((scores.softmax(-1) @ heads[2]).transpose(0, 1).flatten(1))
            side = window // (1 + pool)
            top_out, left_out = top // (1 + pool), left // (1 + pool)
            theirs[:, top_out : top_out + side, left_out : left_out + side] = out.T.unflatten(1, (side, side))
    torch.testing.assert_close(ours, theirs[:, : ours.shape[1], : ours.shape[2]], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_images_in_a_batch_equal_single_ones() -> None:
    model = toy_model(image_size=256)
    images = torch.randn(2, 3, 256, 256)
    together = model.encode_image(images)
    for index in range(2):
        alone = model.encode_image(images[index : index + 1])
        for ours, theirs in zip(together.levels, alone.levels, strict=True):
            torch.testing.assert_close(ours[index : index + 1], theirs, rtol=1e-4, atol=1e-5)


# --- batches of objects --------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_objects_together_equal_one_by_one() -> None:
    model = toy_model()
    features, memory = random_features(model), random_memory(3)
    together = track(model, features, memory)
    encoded = model.encode_memory(features, together.best().logits, together.presence_logits, prompted=False).features
    for index in range(3):
        alone = track(model, features, one_object(memory, index))
        own = slice(index, index + 1)
        assert together.pointers is not None
        assert_same(
            MaskPrediction(
                together.logits[own], together.iou[own], together.presence_logits[own], together.pointers[own]
            ),
            alone,
        )
        memory_alone = model.encode_memory(features, alone.best().logits, alone.presence_logits, prompted=False)
        torch.testing.assert_close(encoded[own].float(), memory_alone.features.float(), rtol=2**-7, atol=1e-3)


@pytest.mark.parametrize("with_grad", [False, True])
def test_shared_image_equals_copies(with_grad: bool) -> None:
    model = toy_model()
    with torch.set_grad_enabled(with_grad):
        shared, memory = random_features(model), random_memory(2)
        copies = shared.take(torch.tensor([0, 0]))
        assert_same(track(model, shared, memory), track(model, copies, memory))
        for prompts in (
            click(2),
            click(2, previous_logits=torch.randn(2, 1, 16, 16)),
            click(2, mask=(torch.rand(2, 1, 64, 64) > 0.5).float()),
        ):
            ours, theirs = (
                model.decode(features, model.condition(features, None), prompts, multimask=False)
                for features in (shared, copies)
            )
            assert ours.logits.shape[0] == 2
            assert_same(ours, theirs)
        logits, presence = torch.randn(2, 1, 16, 16), torch.tensor([1.0, -1.0])
        torch.testing.assert_close(
            model.encode_memory(shared, logits, presence, prompted=False).features,
            model.encode_memory(copies, logits, presence, prompted=False).features,
            rtol=2**-7,
            atol=1e-3,
        )


@pytest.mark.parametrize(("num_queries", "num_keys"), [(5, 7), (200, 30000)])
@pytest.mark.parametrize("shared_query", [True, False])
def test_chunked_attention_equals_the_fused_kernel(num_queries: int, num_keys: int, shared_query: bool) -> None:
    torch.manual_seed(0)
    query = torch.randn(1 if shared_query else 2, num_queries, 16)
    key, value = torch.randn(2, num_keys, 16), torch.randn(2, num_keys, 4)
    projections = nn.Linear(4, 16), nn.Linear(16, 16)
    with torch.no_grad():
        chunked = attend_and_project(query, key, value, *projections, dropout=0.0)
    with torch.enable_grad():
        fused = attend_and_project(query, key, value, *projections, dropout=0.0)
    torch.testing.assert_close(chunked, fused, rtol=1e-4, atol=1e-5)


# --- decisions -----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_absent_objects_are_gated() -> None:
    model = toy_model(present=False)
    prediction = track(model, random_features(model), random_memory(2))
    assert (prediction.presence_logits < 0).all()
    assert (prediction.logits == ABSENT_LOGIT).all()
    torch.testing.assert_close(prediction.pointers, model.no_obj_ptr.expand(2, 3, -1))


@torch.inference_mode()
def test_mask_prompt_is_the_answer() -> None:
    model = toy_model()
    features = random_features(model)
    mask = torch.zeros(2, 1, 64, 64)
    mask[0, :, 8:40, 16:48] = 1
    prediction = model.decode(features, model.condition(features, None), click(2, mask=mask), multimask=True)
    assert prediction.logits.shape == (2, 1, 16, 16)
    assert torch.equal(prediction.logits > 0, F.interpolate(mask, scale_factor=0.25) > 0)
    assert (prediction.logits.abs() <= 10).all()
    assert prediction.presence_logits.tolist() == [10, -10]
    assert prediction.iou.tolist() == [[1], [1]]
    assert prediction.pointers is not None
    assert torch.equal(prediction.pointers[1], model.no_obj_ptr)
    assert not torch.equal(prediction.pointers[0], model.no_obj_ptr)


@torch.inference_mode()
def test_unstable_mask_falls_back_to_the_best_candidate() -> None:
    model = toy_model(stability_threshold=1.01)  # no mask is that stable
    features = random_features(model)
    conditioned = model.condition(features, None)
    single = model.decode(features, conditioned, click(2), multimask=False)
    best = model.decode(features, conditioned, click(2), multimask=True).best()
    torch.testing.assert_close(single.logits, best.logits)
    torch.testing.assert_close(single.iou, best.iou)
    assert single.pointers is not None
    assert best.pointers is not None
    assert not torch.allclose(single.pointers, best.pointers)  # the pointer stays that of the single mask
    plain = toy_model(stability_fallback=False).decode(features, conditioned, click(2), multimask=False)
    assert not torch.allclose(plain.logits, best.logits)


def test_memory_is_binarized_for_prompts_in_evaluation_only() -> None:
    model = toy_model(memory_attention_dropout=0.0)
    features = random_features(model)
    logits, presence = torch.randn(1, 1, 16, 16), torch.ones(1)

    def memory(*, prompted: bool) -> torch.Tensor:
        return model.encode_memory(features, logits, presence, prompted=prompted).features

    with torch.no_grad():
        assert memory(prompted=True).dtype == torch.bfloat16
        assert not torch.allclose(memory(prompted=True), memory(prompted=False))
        soft = memory(prompted=False)
        model.train()
        assert memory(prompted=True).dtype == torch.float32
        torch.testing.assert_close(memory(prompted=True).bfloat16(), soft)


@torch.inference_mode()
def test_first_version_marks_neither_time_nor_absence() -> None:
    model = toy_model(pointer_time_encoding=False, absent_spatial_embedding=False)
    features, memory = random_features(model), random_memory(1)
    later = replace(memory, pointer_offsets=memory.pointer_offsets + 1)
    torch.testing.assert_close(model.condition(features, memory), model.condition(features, later))
    logits = torch.randn(1, 1, 16, 16)
    here, gone = (
        model.encode_memory(features, logits, torch.tensor([sign]), prompted=False).features for sign in (1.0, -1.0)
    )
    assert torch.equal(here, gone)
    newer = toy_model()
    assert not torch.allclose(newer.condition(features, memory), newer.condition(features, later))


# --- training ------------------------------------------------------------------------------------------------------


def test_gradients_reach_every_parameter() -> None:
    losses = []
    model = toy_model(memory_attention_dropout=0.0).train()
    with torch.inference_mode():
        random_features(model.eval())  # tables made here must not spoil training
    model.train()
    features = random_features(model)
    conditioned = model.condition(features, None)
    corners = PromptBatch(torch.rand(2, 5, 2) * 64, torch.tensor([[2, 3, 1, 0, -1]] * 2))
    corners = replace(corners, previous_logits=torch.randn(2, 1, 16, 16))
    for bias in (8.0, -8.0):
        with torch.no_grad():
            model.get_parameter(PRESENCE_BIAS).fill_(bias)
        prompted = model.decode(features, conditioned, corners, multimask=False)
        adopted = model.decode(features, conditioned, click(2, mask=torch.ones(2, 1, 64, 64)), multimask=False)
        memory = model.encode_memory(features, prompted.logits, prompted.presence_logits, prompted=True)
        slots = torch.tensor([[0, *range(1, 7)]] * 2)
        pointers = torch.cat([prompted.pointers, adopted.pointers], dim=1)
        batch = MemoryBatch(memory.features[:, None].expand(-1, 7, -1, -1, -1), slots, None, pointers, torch.rand(2, 2))
        tracked = track(model, features, batch)
        losses += [p.logits.abs().mean() + p.iou.sum() + p.presence_logits.sum() for p in (prompted, tracked)]
        losses.append(tracked.pointers.abs().sum())
        losses.append(prompted.logits.abs().mean())
    # Each term weighs in with another factor, so that nothing cancels.
    sum(loss * (1 + index) for index, loss in enumerate(losses)).backward()
    without = {name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()}
    assert without == {"no_mem_pos_enc"}


def test_dropout_acts_in_training_only() -> None:
    model = toy_model()
    features, memory = random_features(model), random_memory(1)
    assert torch.equal(model.condition(features, memory), model.condition(features, memory))
    model.train()
    assert not torch.equal(model.condition(features, memory), model.condition(features, memory))


def test_drop_path_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = DropPath(0.25)
    x = torch.ones(10000, 2)
    dropped = drop(x)
    assert dropped.unique().tolist() == pytest.approx([0.0, 1.0 / 0.75])
    assert torch.equal(dropped[:, 0], dropped[:, 1])
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.02)
    assert torch.equal(drop.eval()(x), x)


# --- precision -----------------------------------------------------------------------------------------------------


@torch.inference_mode()
def test_bfloat16_stays_near_float32() -> None:
    model = toy_model()
    images, memory = torch.randn(1, 3, 64, 64), random_memory(2)

    def run() -> tuple[MaskPrediction, torch.Tensor]:
        features = model.encode_image(images)
        prediction = track(model, features, memory)
        encoded = model.encode_memory(features, prediction.best().logits, prediction.presence_logits, prompted=False)
        return prediction, encoded.features

    exact, exact_memory = run()
    with torch.autocast("cpu", torch.bfloat16):
        rough, rough_memory = run()
    assert rough.logits.dtype == rough.iou.dtype == rough.presence_logits.dtype == torch.float32
    assert rough.pointers is not None
    assert rough.pointers.dtype == torch.float32
    for ours, theirs in (
        (rough.logits, exact.logits),
        (rough.iou, exact.iou),
        (rough_memory, exact_memory),
    ):
        error = (ours.float() - theirs.float()).square().mean().sqrt()
        assert error < 0.05 * theirs.float().std()


def test_tables_are_not_saved() -> None:
    model = toy_model()
    before = set(model.state_dict())
    with torch.inference_mode():
        track(model, random_features(model), random_memory(1))
    assert set(model.state_dict()) == before
    assert [name for name, _ in model.named_buffers()] == [
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    ]
