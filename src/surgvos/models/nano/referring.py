"""A nano model that also finds what a phrase says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from surgvos.models.interface import (
    ABSENT_LOGIT,
    ImageFeatures,
    MaskPrediction,
    PromptBatch,
    TextFeatures,
    take_maps,
)
from surgvos.models.nano.config import NanoConfig
from surgvos.models.nano.judge import OutlineJudge
from surgvos.models.nano.layers import ConvUnit, blocks, upsample_to
from surgvos.models.nano.model import NanoModel
from surgvos.models.nano.motion import MotionLook
from surgvos.models.nano.text import PhraseEncoder, attention_layer
from surgvos.models.nano.trunk import trunk_stages

_WAVES = (1, 2, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferringNanoConfig(NanoConfig):
    """Shape of a `ReferringNano`: that of a `NanoModel`, and of what reads phrases.

    Attributes:
        text_width: Channels of words, and of the image where it meets them.
        num_buckets: Of runs of letters.
        max_words: Longest phrase.
        text_depth: Layers in which words attend to each other.
        joint_depth: Layers in which words and places attend to each other.
        sees_motion: Whether the frame before is looked at as well.
        judges_outlines: Whether what was found is judged once more by its outline.
    """

    text_width: int = 96
    num_buckets: int = 4096
    max_words: int = 32
    text_depth: int = 2
    joint_depth: int = 3
    sees_motion: bool = False
    judges_outlines: bool = False


class PhraseFinder(nn.Module):
    """Where in an image is what a phrase says?

    It sees for itself from stride 2 on, because what tells words apart is not what objects are followed by. Places at
    stride 16 are compared with the phrase in one space, in which words can be learnt by themselves (Radford et al.,
    CLIP, ICML 2021, for places instead of images). Places, which know how alike they are, and words attend to each
    other, so that "the largest" and "on the left" can be told; what comes of it goes back to stride 8 through the
    image's own detail. What moves is told by the frame before, where there is one.
    """

    def __init__(self, config: ReferringNanoConfig) -> None:
        super().__init__()
        _, w4, w8, w16 = config.widths
        self.stages = trunk_stages(config.widths, config.depths)
        width, eight = config.text_width, config.decoder_widths[2]
        self.down_8 = ConvUnit(w4, eight, stride=2)
        self.enter_8 = nn.Sequential(ConvUnit(eight + w8, width), blocks(width, 1))
        self.down_16, self.enter_16 = ConvUnit(width, width, stride=2), nn.Conv2d(w16, width, 1)
        self.motion_16 = MotionLook(w4, width) if config.sees_motion else None
        self.refine_16 = blocks(width, 2)
        self.seen, self.meant = nn.Conv2d(width, width, 1), nn.Linear(width, width)
        self.log_sharpness, self.doubt = nn.Parameter(torch.tensor(2.0)), nn.Parameter(torch.tensor(-4.0))
        self.alike_before, self.alike_after = nn.Conv2d(1, width, 1), nn.Conv2d(1, width, 1)
        self.place = nn.Linear(4 * len(_WAVES), width)
        self.joint = nn.ModuleList(attention_layer(width) for _ in range(config.joint_depth))
        self.norm = nn.LayerNorm(width)
        self.modulate = nn.Linear(2 * width, 2 * width)
        self.merge_16 = blocks(width, 1)
        self.up_8, self.image_8, self.merge_8 = nn.Conv2d(width, eight, 1), nn.Conv2d(width, eight, 1), blocks(eight, 1)
        self.judge = nn.Sequential(nn.Linear(3 * width + 1, width), nn.ReLU(inplace=True), nn.Linear(width, 2))

    def forward(
        self, levels: tuple[Tensor, ...], text: TextFeatures, before: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Look for ``B`` phrases in images.

        Args:
            levels: Of the trunk; stride 2 is looked at, and stride 4 for what moved.
            text: The phrases, and of which images they speak.
            before: The same of the frame before.

        Returns:
            ``(B, C, h, w)`` at stride 8, presence logits ``(B,)`` and IoU logits ``(B,)``.
        """
        num_phrases = text.pooled.shape[0]
        x8, x16 = self._look(levels, before)
        if text.image is not None:
            x8, x16 = take_maps(x8, text.image), take_maps(x16, text.image)
        seen, meant = self._comparable(x16, text.pooled)
        alike = (seen * meant[:, :, None, None]).sum(dim=1, keepdim=True).add(self.doubt).sigmoid()
        places = (x16 + self.alike_before(alike)).flatten(2).transpose(1, 2) + self._where(x16)
        num_places = places.shape[1]
        tokens = torch.cat((places, text.tokens.to(places.dtype)), dim=1)
        padded = torch.cat((text.is_token.new_zeros((num_phrases, num_places)), ~text.is_token), dim=1)
        for layer in self.joint:
            tokens = layer(tokens, src_key_padding_mask=padded)
        tokens = self.norm(tokens)
        found, words = tokens[:, :num_places], tokens[:, num_places:] * text.is_token[..., None]
        said = words.sum(dim=1) / text.is_token.sum(dim=1, keepdim=True)
        scale, shift = self.modulate(torch.cat((said, text.pooled.to(said.dtype)), dim=1))[..., None, None].chunk(2, 1)
        y16 = found.transpose(1, 2).unflatten(2, x16.shape[-2:])
        y16 = self.merge_16(y16 + x16 * (1 + scale) + shift + self.alike_after(alike))
        y8 = self.merge_8(upsample_to(self.up_8(y16), x8) + self.image_8(x8))
        told = torch.cat((found.mean(dim=1), found.amax(dim=1), said, alike.amax(dim=(2, 3))), dim=1)
        presence, iou = self.judge(told).unbind(dim=1)
        return y8, presence, iou

    def resemblance(self, levels: tuple[Tensor, ...], pooled: Tensor) -> Tensor:
        """Compare ``N`` images with ``B`` phrases ``(B, C)``: logits ``(N, B, h, w)`` at stride 16."""
        seen, meant = self._comparable(self._look(levels)[1], pooled)
        return torch.einsum("nchw,bc->nbhw", seen, meant) + self.doubt

    def _look(self, levels: tuple[Tensor, ...], before: tuple[Tensor, ...] | None = None) -> tuple[Tensor, Tensor]:
        """What an image shows at strides 8 and 16, whatever is looked for."""
        four = self.stages[0](levels[0])
        eight = self.stages[1](four)
        x8 = self.enter_8(torch.cat((self.down_8(four), eight), dim=1))
        x16 = self.down_16(x8) + self.enter_16(self.stages[2](eight))
        if self.motion_16 is not None and before is not None:
            x16 = x16 + self.motion_16(levels[1], before[1])
        return x8, self.refine_16(torch.relu(x16))

    def _comparable(self, x16: Tensor, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Places and phrases in one space, where their product is a logit."""
        meant = F.normalize(self.meant(pooled.to(x16.dtype)), dim=1) * self.log_sharpness.exp()
        return F.normalize(self.seen(x16), dim=1), meant

    def _where(self, x16: Tensor) -> Tensor:
        """Each place by waves across the image, whatever its size: ``(1, h * w, C)``."""
        height, width = x16.shape[-2:]
        ys = (torch.arange(height, device=x16.device) + 0.5) / height
        xs = (torch.arange(width, device=x16.device) + 0.5) / width
        angles = torch.stack(torch.meshgrid(ys, xs, indexing="ij"), dim=-1).flatten(0, 1) * math.pi
        waves = torch.cat([f(k * angles) for k in _WAVES for f in (torch.sin, torch.cos)], dim=1)
        return self.place(waves.to(x16.dtype))[None]


class ReferringNano(NanoModel):
    """A `ReferringModel` for CPUs: a `NanoModel`, whose own weights it leaves as they are, and a reader of phrases."""

    config: ReferringNanoConfig

    def __init__(self, config: ReferringNanoConfig | None = None) -> None:
        config = config or ReferringNanoConfig()
        super().__init__(config)
        self.phrase_encoder = PhraseEncoder(config.text_width, config.num_buckets, config.max_words, config.text_depth)
        self.phrase_finder = PhraseFinder(config)
        self.phrase_judge = OutlineJudge() if config.judges_outlines else None
        self.num_previous = int(config.sees_motion)
        self.credible = (0.5, 0.7) if config.judges_outlines else (0.9, 0.7)

    def see_as_it_follows(self) -> None:
        """Let the reader's own look at images start as that of the tracker."""
        self.phrase_finder.stages.load_state_dict(self.image_encoder.stages.state_dict())

    def encode_text(self, phrases: Sequence[str]) -> TextFeatures:
        """Encode phrases; see `ReferringModel`."""
        return self.phrase_encoder(phrases)

    def resemblance(self, features: ImageFeatures, text: TextFeatures) -> Tensor:
        """How much places of ``N`` images look like what ``B`` phrases say, without regard to where they are.

        Returns:
            Logits ``(N, B, h, w)`` at stride 16.
        """
        return self.phrase_finder.resemblance(features.levels, text.pooled)

    def refer(self, features: ImageFeatures, previous: Sequence[ImageFeatures], text: TextFeatures) -> MaskPrediction:
        """Look for phrases in one image, beside the one before it; see `ReferringModel`."""
        before = previous[0].levels if previous else None
        found, presence, iou = self.phrase_finder(features.levels, text, before)
        presence, iou = presence.float(), iou.float()
        if self.training:
            logits = self._outline(features.levels, found, text.image)
            presence, iou = self._judge(logits, presence, iou)
        else:
            logits = found.new_full((len(found), 1, *features.levels[0].shape[-2:]), ABSENT_LOGIT, dtype=torch.float32)
            presence, iou = presence.clone(), iou.clone()
            # What is not there has no outline, and outlines take most of the time.
            shown = (presence > 0).nonzero().flatten()
            if len(shown):
                images = shown if text.image is None else text.image[shown]
                chosen = None if features.num_images == 1 else images
                logits[shown] = self._outline(features.levels, found[shown], chosen)
                presence[shown], iou[shown] = self._judge(logits[shown], presence[shown], iou[shown])
        return MaskPrediction(logits, iou.sigmoid()[:, None], presence)

    def _judge(self, outlines: Tensor, presence: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
        """Presence and IoU logits once the outlines are known."""
        return (presence, iou) if self.phrase_judge is None else self.phrase_judge(outlines, presence, iou)

    def _outline(self, levels: tuple[Tensor, ...], found: Tensor, image: Tensor | None) -> Tensor:
        """Mask logits, float32 ``(B, 1, h, w)`` at stride 2, of what was found."""
        prompted = self.nothing_prompted[None, :, None, None].expand_as(found).to(found.dtype)
        return self.mask_decoder(levels, torch.cat((found, prompted), dim=1), image)[0].float()

    def decode(
        self, features: ImageFeatures, conditioned: Tensor, prompts: PromptBatch | None, *, multimask: bool
    ) -> MaskPrediction:
        """Predict masks; following keeps no phrase in mind, so one alone is no prompt."""
        if prompts is not None and prompts.mask is None and prompts.num_points == 0:
            prompts = None
        return super().decode(features, conditioned, prompts, multimask=multimask)
