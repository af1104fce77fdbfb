"""ReSurgSAM2 as a stateless video model that finds what a phrase says.

Reference: Liu et al., ReSurgSAM2: Referring Segment Anything in Surgical Video via Credible Long-term Tracking, 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from surgvos.models.interface import ImageFeatures, MaskPrediction, PromptBatch, TextFeatures
from surgvos.models.resurg.config import ResurgConfig
from surgvos.models.sam2 import Sam2Model
from surgvos.models.sam2.layers import MLP
from surgvos.models.text.clip import ClipTextTower
from surgvos.models.text.fusion import CrossModalFusion


class ResurgModel(Sam2Model):
    """ReSurgSAM2, with the published parameter names but for the frozen text tower's.

    Args:
        config: Sizes and switches.

    Departs: Where phrases of several lengths are looked for together, none sees the others' padding
        (`test_text_model.py`); ``config.attend_padding_in_training`` trains as published.
    """

    config: ResurgConfig

    def __init__(self, config: ResurgConfig) -> None:
        super().__init__(config)
        dim = config.hidden_dim
        self.num_previous = config.num_fused_frames - 1
        self.credible = (0.9, 0.7)  # as published
        self.language = ClipTextTower(config.language_model)
        self.token_projection = MLP(
            config.text_dim,
            config.projection_dim,
            config.projection_dim,
            dim,
            activation=_relu_and_dropout(config.fusion_dropout),
        )
        self.sam_prompt_encoder.language_fusion_mlp = MLP(
            dim, 4 * dim, 4 * dim, dim, activation=_relu_and_dropout(config.prompt_dropout)
        )
        self.cross_modal_fusion = CrossModalFusion(
            dim, config.fusion_ffn_dim, config.num_fused_frames, config.fusion_dropout, config.fusion_drop_path
        )

    def encode_text(self, phrases: Sequence[str]) -> TextFeatures:
        """Encode phrases: ``B`` of up to 75 tokens, and as wide as prompts.

        Raises:
            InputError: A phrase is longer.
            CheckpointError: The text tower cannot be loaded.
        """
        read = self.language(phrases, self.no_mem_embed.device)
        longest = int(read.is_token.sum(dim=1).max())
        return TextFeatures(
            tokens=self.token_projection(read.hidden[:, :longest]),
            is_token=read.is_token[:, :longest],
            pooled=self.token_projection(read.pooled),
        )

    def refer(self, features: ImageFeatures, previous: Sequence[ImageFeatures], text: TextFeatures) -> MaskPrediction:
        """Look for ``B`` phrases in one image; what does not depend on the phrase is computed once.

        Args:
            features: Of one image, shared by all phrases, of one per phrase, or of those `TextFeatures.image`
                picks from.
            previous: Of up to `num_previous` earlier frames, newest first.
            text: The phrases.
        """
        if text.image is not None:
            features, *previous = (frame.take(text.image) for frame in (features, *previous))
        sees_padding = self.training and self.config.attend_padding_in_training
        meaning, image = self.cross_modal_fusion(
            features.levels[-1],
            [frame.levels[-1] for frame in previous],
            text.tokens,
            None if sees_padding else text.is_token,
        )
        encoder = self.sam_prompt_encoder
        sparse = torch.cat([self._with_text(encoder.no_points(), text.pooled), meaning], dim=1)
        conditioned = image + self.no_mem_embed.view(1, -1, 1, 1)
        return self._predict(features, conditioned, sparse, encoder.no_mask(), multimask=True)

    def _encode_prompts(self, prompts: PromptBatch | None, grid_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        sparse, dense = super()._encode_prompts(prompts, grid_hw)
        if prompts is None or prompts.text is None:
            return sparse, dense
        if prompts.num_points == 0:
            sparse = self.sam_prompt_encoder.no_points()
        return self._with_text(sparse, prompts.text), dense

    def _with_text(self, sparse: Tensor, pooled: Tensor) -> Tensor:
        """Append the phrases ``(B, C)`` to prompt tokens ``(B or 1, P, C)``."""
        token = cast(MLP, self.sam_prompt_encoder.language_fusion_mlp)(pooled).unsqueeze(1)
        return torch.cat([sparse.expand(len(pooled), -1, -1).to(token.dtype), token], dim=1)


def _relu_and_dropout(rate: float) -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Dropout(rate))
