"""The same masks as Hugging Face's SAM 2 video model, with random weights; opt in with ``-m oracle``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from helpers import moving_square_frames
from surgvos import Frame, MaskPrompt, PointPrompt, Session
from surgvos.evaluation.peers import TransformersPeer
from surgvos.models.hf_layout import to_transformers_config, to_transformers_weights
from surgvos.models.random_weights import ARCHITECTURES, fill_with_random_weights
from surgvos.models.sam2 import Sam2Config, Sam2Model

pytestmark = pytest.mark.oracle

# Transformers fixes the width of memory at 64; everything else is made small.
TOY = Sam2Config(
    image_size=128,
    embed_dim=16,
    stages=(1, 1, 2, 1),
    global_blocks=(3,),
    hidden_dim=128,
    memory_dim=64,
    num_memory_attention_layers=2,
    memory_attention_ffn_dim=64,
    decoder_ffn_dim=128,
)
NUM_FRAMES = 20  # more than there are pointers
TOLERANCE = 1e-3

Prompt = Callable[[Session, TransformersPeer, int], None]


def toy_model(seed: int = 0, **changes: bool) -> Sam2Model:
    model = Sam2Model(replace(TOY, **changes)).eval()  # type: ignore[arg-type]
    fill_with_random_weights(model, seed)
    return model


def click(session: Session, peer: TransformersPeer, object_id: int) -> None:
    points = [[20.0 + 30 * object_id, 50.0]]
    session.add_prompt(0, object_id, PointPrompt(points))
    peer.add_points(0, object_id, points, [1])


def clicks(session: Session, peer: TransformersPeer, object_id: int) -> None:
    points, labels = [[20.0 + 30 * object_id, 50.0], [90.0, 100.0]], [1, 0]
    session.add_prompt(0, object_id, PointPrompt(points, labels))
    peer.add_points(0, object_id, points, labels)


def mask_of(rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros((TOY.image_size, TOY.image_size), dtype=bool)
    mask[rows, columns] = True
    return mask


def band(session: Session, peer: TransformersPeer, object_id: int) -> None:
    """A mask that is the same after it was reduced to a quarter and enlarged."""
    mask = mask_of(slice(None), slice(32 * object_id, 32 * object_id + 24))
    session.add_prompt(0, object_id, MaskPrompt(mask))
    peer.add_mask(0, object_id, mask)


def square(session: Session, peer: TransformersPeer, object_id: int) -> None:
    """A mask that loses its corners and a row when it is reduced."""
    mask = mask_of(slice(30, 71), slice(32 * object_id - 1, 32 * object_id + 22))
    session.add_prompt(0, object_id, MaskPrompt(mask))
    peer.add_mask(0, object_id, mask)


def differences(model: Sam2Model, prompt: Prompt, num_objects: int, num_frames: int = NUM_FRAMES) -> list[float]:
    """Largest difference of the mask logits in each frame."""
    session, peer = Session(model), TransformersPeer(model)
    for object_id in range(1, num_objects + 1):
        prompt(session, peer, object_id)
    found = []
    images, _ = moving_square_frames(num_frames, hw=(TOY.image_size, TOY.image_size))
    for index, image in enumerate(images):
        ours = session.step(Frame(index=index, name=f"{index}", image=image)).logits
        logits = np.stack(list(ours.values()))
        assert (logits > 0).any()
        assert (logits > -1000).all()
        found.append(float(np.abs(logits - peer.step(image, index).numpy()).max()))
    return found


@pytest.mark.parametrize("prompt", [click, clicks, band])
@pytest.mark.parametrize("num_objects", [1, 3])
def test_masks_are_those_of_transformers(prompt: Prompt, num_objects: int) -> None:
    assert max(differences(toy_model(), prompt, num_objects)) <= TOLERANCE


def test_masks_of_the_first_version_are_those_of_transformers() -> None:
    model = toy_model(pointer_time_encoding=False, absent_spatial_embedding=False)
    assert max(differences(model, click, num_objects=1)) <= TOLERANCE


def test_transformers_remembers_a_mask_prompt_at_full_resolution() -> None:
    """Where they depart from the published predictor, which we follow: see `TransformersPeer`."""
    first, second, *_ = differences(toy_model(), square, num_objects=1, num_frames=2)
    assert first == 0.0
    assert second > TOLERANCE


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name.startswith("sam2")])
def test_every_weight_has_a_place_in_transformers(name: str) -> None:
    from transformers import Sam2VideoModel

    config = ARCHITECTURES[name]()
    assert isinstance(config, Sam2Config)
    with torch.device("meta"):
        ours, theirs = Sam2Model(config), Sam2VideoModel(to_transformers_config(config))
    renamed = {key: value.shape for key, value in to_transformers_weights(ours.state_dict()).items()}
    assert renamed == {key: value.shape for key, value in theirs.state_dict().items()}
