"""What finds phrases: the text tower, phrases together and alone, and weights files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from surgvos.errors import CheckpointError, ConfigError, InputError
from surgvos.models.checkpoints import load_checkpoint, save_model
from surgvos.models.interface import ImageFeatures, PromptBatch, TextFeatures
from surgvos.models.registry import load_model
from surgvos.models.resurg import ResurgConfig, ResurgModel, resurg_small
from surgvos.models.sam2 import Sam2Model, small
from surgvos.models.text import clip
from surgvos.models.text.clip import FOLDER_VARIABLE, ClipTextTower
from surgvos.models.text.mamba import BACKWARD, FORWARD, TUBES, MambaLayer, Volume, _put_back, _put_in
from surgvos.models.zoo import ZOO
from surgvos.models.zoo_entries import HandEntry
from tiny_clip import WIDTH, tiny_clip_folder

TOY = ResurgConfig(
    image_size=64,
    embed_dim=8,
    stages=(1, 1, 2, 1),
    global_blocks=(3,),
    hidden_dim=32,
    memory_dim=16,
    num_memory_attention_layers=1,
    memory_attention_ffn_dim=32,
    decoder_ffn_dim=32,
    iou_head_dim=32,
    text_dim=WIDTH,
    projection_dim=32,
    fusion_ffn_dim=32,
)
PHRASES = ("the grasper", "a much longer phrase for the same grasper", "liver")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def toy_model(**changes: object) -> ResurgModel:
    torch.manual_seed(0)
    model = ResurgModel(replace(TOY, language_model=str(tiny_clip_folder()), **changes)).eval()
    with torch.no_grad():
        for parameter in model.cross_modal_fusion.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        model.get_parameter("sam_mask_decoder.pred_obj_score_head.layers.2.bias").fill_(8.0)
    return model


def frames(model: ResurgModel, num_frames: int = 3) -> list[ImageFeatures]:
    generator = torch.Generator().manual_seed(0)
    return [model.encode_image(torch.randn(1, 3, 64, 64, generator=generator)) for _ in range(num_frames)]


def one(text: TextFeatures, row: int) -> TextFeatures:
    """One phrase of a batch, padding and all."""
    return TextFeatures(text.tokens[row : row + 1], text.is_token[row : row + 1], text.pooled[row : row + 1])


def test_tower_is_loaded_when_the_first_phrase_is_read() -> None:
    tower = ClipTextTower(tiny_clip_folder())
    assert tower._tower is None
    read = tower(["a"], CPU)
    assert tower._tower is not None
    assert not any(parameter.requires_grad for parameter in tower._tower.parameters())
    assert read.hidden.shape == (1, 77, WIDTH)
    assert read.is_token.sum() == 3


def test_pooled_state_is_the_one_at_the_end() -> None:
    read = ClipTextTower(tiny_clip_folder())(PHRASES, CPU)
    for row, length in enumerate(read.is_token.sum(dim=1).tolist()):
        torch.testing.assert_close(read.pooled[row], read.hidden[row, length - 1])


def test_phrases_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tower = ClipTextTower(tiny_clip_folder())
    first = tower(PHRASES, CPU)
    monkeypatch.setattr(tower, "read_ids", None)
    again = tower(PHRASES[::-1], CPU)
    assert torch.equal(again.hidden.flip(0), first.hidden)


def test_phrases_that_are_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "_MAX_PHRASES", 3)
    tower = ClipTextTower(tiny_clip_folder())
    tower(["a", "b", "c"], CPU)
    tower(["a"], CPU)
    tower(["d"], CPU)
    assert list(tower._read) == ["c", "a", "d"]


def test_phrases_read_in_inference_mode_can_be_trained_on() -> None:
    model = toy_model()
    with torch.inference_mode():
        model.encode_text(PHRASES)
    model.encode_text(PHRASES).tokens.sum().backward()
    assert model.token_projection.layers[0].weight.grad is not None


@pytest.mark.parametrize("phrase", ["大鉗子 在 左邊", "Ñandú — ½ 🔪", "a\nb\t\x00", "?!", "a" * 60])
def test_any_text_has_an_answer(phrase: str) -> None:
    text = toy_model().encode_text([phrase])
    assert text.tokens.isfinite().all()
    assert text.is_token.all()
    other = toy_model().encode_text([phrase + "b"])
    assert not torch.allclose(text.pooled, other.pooled)


def test_longest_phrase_is_read_and_a_longer_one_refused() -> None:
    model = toy_model()
    assert model.encode_text(["a" * 75]).tokens.shape[1] == 77
    with pytest.raises(InputError, match=r"at most 75 tokens.*got 76.*try to say it shorter"):
        model.encode_text(["liver", "a" * 76])


def test_folder_can_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tiny_clip_folder()))
    assert ClipTextTower()(["a"], CPU).hidden.shape == (1, 77, WIDTH)


def test_missing_tower_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"text tower of CLIP at .*nowhere.*try again online.*SURGVOS_CLIP"):
        ClipTextTower(tmp_path / "nowhere")(["a"], CPU)


@torch.no_grad()
def test_a_phrase_means_the_same_alone_and_among_others() -> None:
    model = toy_model()
    current, *previous = frames(model)
    text = model.encode_text(PHRASES)
    together = model.refer(current, previous, text)
    assert together.logits.shape == (3, 3, 16, 16)
    for row, phrase in enumerate(PHRASES):
        alone = model.refer(current, previous, model.encode_text([phrase]))
        torch.testing.assert_close(together.logits[row], alone.logits[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(together.pointers[row], alone.pointers[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("attends", [False, True])
@torch.no_grad()
def test_padding_is_attended_to_in_training_as_published_if_asked(attends: bool) -> None:
    changes = {"fusion_dropout": 0.0, "prompt_dropout": 0.0, "fusion_drop_path": 0.0}
    model = toy_model(attend_padding_in_training=attends, **changes).train()
    current, *previous = frames(model)
    padded = one(model.encode_text(PHRASES), 0)
    alone = model.encode_text(PHRASES[:1])
    assert padded.tokens.shape[1] > alone.tokens.shape[1]
    found = [model.refer(current, previous, text).logits for text in (padded, alone)]
    assert torch.allclose(*found, rtol=1e-4, atol=1e-4) != attends


@torch.no_grad()
def test_images_are_scanned_once_for_all_phrases_until_they_see_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model = toy_model()
    seen: list[int] = []
    forward = MambaLayer.forward
    monkeypatch.setattr(MambaLayer, "forward", lambda self, x, volume: seen.append(len(x)) or forward(self, x, volume))
    model.refer(frames(model)[0], [], model.encode_text(PHRASES))
    assert seen[:2] == [1, 1]


@torch.no_grad()
def test_an_image_each_is_as_an_image_shared() -> None:
    model = toy_model()
    current, *previous = frames(model)
    text = model.encode_text(PHRASES)
    shared = model.refer(current, previous, text)
    rows = torch.zeros(3, dtype=torch.int64)
    each = model.refer(current.take(rows), [frame.take(rows) for frame in previous], text)
    torch.testing.assert_close(each.logits, shared.logits, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_missing_frames_are_copies_and_a_copy_and_a_frame_share_their_moment() -> None:
    fusion = toy_model().cross_modal_fusion
    current, earlier, first = "current", "earlier", "first"
    filled = [fusion.filled(current, previous) for previous in ([], [earlier], [earlier, first])]
    assert filled == [
        ([current, current, current], [0, 1, 2]),
        ([current, current, earlier], [0, 1, 1]),
        ([current, earlier, first], [0, 1, 2]),
    ]


@torch.no_grad()
def test_followed_objects_keep_their_phrase_in_mind() -> None:
    """The third prompt token, after two that say that nothing was clicked."""
    model = toy_model()
    image = frames(model)[0]
    text = model.encode_text(PHRASES[:2])
    nothing = torch.zeros(2, 0, 2), torch.zeros(2, 0, dtype=torch.int64)
    conditioned = model.condition(image, None)
    sparse, _ = model._encode_prompts(PromptBatch(*nothing, text=text.pooled), (4, 4))
    no_point = model.sam_prompt_encoder.not_a_point_embed.weight[0]
    assert sparse.shape == (2, 3, 32)
    assert torch.equal(sparse[0, :2], no_point.expand(2, -1))
    assert torch.equal(sparse[:, 2], model.sam_prompt_encoder.language_fusion_mlp(text.pooled))
    with_text = model.decode(image, conditioned, PromptBatch(*nothing, text=text.pooled), multimask=True)
    without = model.decode(image, conditioned, None, multimask=True)
    assert not torch.allclose(with_text.logits[:1], without.logits)
    clicked = PromptBatch(torch.full((2, 1, 2), 20.0), torch.ones(2, 1, dtype=torch.int64), text=text.pooled)
    assert model._encode_prompts(clicked, (4, 4))[0].shape == (2, 3, 32)


@pytest.mark.parametrize("order", [FORWARD, BACKWARD, TUBES])
def test_orders_are_undone(order: str) -> None:
    volume = Volume(3, 2, 2)
    x = torch.arange(12.0).view(1, 12, 1)
    assert torch.equal(_put_back(order, _put_in(order, x, volume), volume), x)
    if order == TUBES:
        assert _put_in(order, x, volume).flatten().tolist()[:6] == [0, 4, 8, 1, 5, 9]


def published_state() -> dict[str, torch.Tensor]:
    """Names and shapes of the released network, without numbers that take space."""
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in ResurgModel(resurg_small()).state_dict().items()}
    return {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}


def test_saved_weights_come_back(tmp_path: Path) -> None:
    model = toy_model()
    save_model(tmp_path / "toy.safetensors", model)
    again = load_checkpoint(tmp_path / "toy.safetensors")
    assert isinstance(again, ResurgModel)
    assert again.config == model.config
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("holds_clip", [False, True])
def test_published_file_is_recognised(holds_clip: bool, tmp_path: Path) -> None:
    state = published_state()
    if holds_clip:
        state["language_model.final_layer_norm.weight"] = torch.ones(512)
    torch.save({"model": state}, tmp_path / "sam2.1_hiera_s_ref17.pth")
    model = load_checkpoint(tmp_path / "sam2.1_hiera_s_ref17.pth")
    assert isinstance(model, ResurgModel)
    assert model.config == resurg_small()


BUILT_OTHERWISE = {
    "without scans through all frames": "A_s_log",
    "without a convolution": "mlp.dwconv.dwconv.weight",
    "without the phrase in the prompt": "language_fusion_mlp",
    "without moments": "temporal_pos_embed",
}


@pytest.mark.parametrize("missing", BUILT_OTHERWISE.values(), ids=list(BUILT_OTHERWISE))
def test_another_variant_is_refused_in_one_sentence(missing: str, tmp_path: Path) -> None:
    state = {key: value for key, value in published_state().items() if missing not in key}
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"ReSurgSAM2 as released.*another stage or variant.*try sam2.1_hiera_s"):
        load_checkpoint(tmp_path / "other.pth")


def test_missing_and_unexpected_weights_are_named(tmp_path: Path) -> None:
    state = published_state()
    del state["cross_modal_fusion.transformer.layers.1.norm4.bias"]
    state["extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(
        CheckpointError, match=r"763 weights of a resurgsam2 model.*1 missing.*norm4.bias.*1 unexpected"
    ):
        load_checkpoint(tmp_path / "other.pth")


def test_plain_sam2_is_not_taken_for_one(tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in Sam2Model(small()).state_dict().items()}
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}, tmp_path / "sam2.pt")
    assert type(load_checkpoint(tmp_path / "sam2.pt")) is Sam2Model


def test_unusable_number_of_frames_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one fused frame"):
        replace(TOY, num_fused_frames=0)
    with pytest.raises(ConfigError, match="image_size"):
        replace(TOY, image_size=33)


@pytest.mark.parametrize("name", ["resurgsam2-endovis17", "resurgsam2-endovis18"])
def test_published_files_are_fetched_by_hand(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SURGVOS_MODELS", str(tmp_path / "models"))
    entry = ZOO[name]
    assert isinstance(entry, HandEntry)
    with pytest.raises(CheckpointError, match=f"drive.google.com.*surgvos models get {name} --from {entry.file_name}"):
        load_model(name)
    torch.save({"model": published_state()}, tmp_path / "fetched.pth")
    entry.take_in(tmp_path / "fetched.pth")
    assert isinstance(load_model(name, device="cpu", dtype="fp32"), ResurgModel)
    with torch.device("meta"):
        plain = {key: value.shape for key, value in Sam2Model(small()).state_dict().items()}
    torch.save({key: torch.zeros(()).expand(shape) for key, shape in plain.items()}, tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match=r"\(ReSurgSAM2 with 16 blocks\).*got SAM 2.1 with 16 blocks"):
        entry.take_in(tmp_path / "plain.pth")
