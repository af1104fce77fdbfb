"""Words are learnt from where they hold and where they do not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from surgvos.data.clips import Clip, collate_clips
from surgvos.errors import ConfigError
from surgvos.models.nano import ReferringNano, ReferringNanoConfig
from surgvos.training.words import WordSettings

TOY = ReferringNanoConfig(
    widths=(8, 8, 16, 16), depths=(1, 1, 1), decoder_widths=(8, 8, 16, 16, 16), head_dim=8, text_width=16,
    num_buckets=64, text_depth=1, joint_depth=1,
)  # fmt: skip


def two_squares() -> Clip:
    """Red on the left, green on the right, and nothing blue; whole cells of stride 16."""
    image = np.zeros((1, 64, 96, 3), np.uint8)
    image[0, 16:48, 0:32, 0] = 250
    image[0, 16:48, 64:96, 1] = 250
    red, green = image[0, :, :, 0] > 0, image[0, :, :, 1] > 0
    return Clip(image, np.stack([red, green, np.zeros_like(red)])[None], ("red", "green", "blue"))


def test_words_are_learnt() -> None:
    torch.manual_seed(0)
    model = ReferringNano(TOY)
    task = WordSettings().module(model)
    learnt = [*model.phrase_finder.parameters(), *model.phrase_encoder.parameters()]
    optimiser = torch.optim.Adam(learnt, lr=1e-2)
    batch = collate_clips([two_squares()])
    before = task(batch, None)
    for _ in range(40):
        optimiser.zero_grad()
        losses = task(batch, None)
        losses.total.backward()
        optimiser.step()
    after = task(batch, None)
    assert after.total < 0.5 * before.total
    assert after.scores["word_iou"] > 0.6
    assert after.scores["presence_accuracy"] == 1
    assert after.num_items == 3


def test_what_is_not_listed_is_not_asked_of_an_image() -> None:
    torch.manual_seed(0)
    model = ReferringNano(TOY).eval()
    task = WordSettings().module(model)
    clip = two_squares()
    silent = Clip(clip.images, clip.masks[:, :1], clip.phrases[:1])
    both = task(collate_clips([clip, silent]), None)
    alone = [task(collate_clips([one]), None).total for one in (clip, silent)]
    torch.testing.assert_close(both.total, sum(alone), rtol=1e-4, atol=1e-4)


def test_images_without_words_are_refused() -> None:
    clip = two_squares()
    with pytest.raises(ConfigError, match="words"):
        WordSettings().module(ReferringNano(TOY))(collate_clips([Clip(clip.images, clip.masks)]), None)
