"""From conditioned image features and prompts to candidate masks."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from surgvos.models.sam2.attention import Attention
from surgvos.models.sam2.config import Sam2Config
from surgvos.models.sam2.layers import MLP, LayerNorm2d

_NUM_MASKS = 4  # one for clear prompts, then three candidates for ambiguous ones
_NUM_HEADS = 8


@dataclass(frozen=True, slots=True, eq=False)
class DecodedMasks:
    """What the decoder says of ``B`` objects.

    Attributes:
        logits: ``(B, K, 4h, 4w)``, not gated by presence.
        iou: ``(B, K)`` in [0, 1].
        tokens: ``(B, K, C)`` token of each mask, from which pointers are made.
        presence_logits: ``(B,)``.
    """

    logits: Tensor
    iou: Tensor
    tokens: Tensor
    presence_logits: Tensor


class TwoWayLayer(nn.Module):
    """Tokens attend to themselves and to the image; the image attends to the tokens."""

    def __init__(self, dim: int, ffn_dim: int, *, is_first: bool) -> None:
        super().__init__()
        self.is_first = is_first
        self.self_attn = Attention(dim, dim, _NUM_HEADS)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, dim // 2, _NUM_HEADS)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, ffn_dim, dim)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, dim // 2, _NUM_HEADS)

    def forward(self, tokens: Tensor, image: Tensor, initial: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Update tokens ``(B, T, C)`` and image ``(B, N, C)``.

        Args:
            tokens: Current tokens.
            image: Current image tokens.
            initial: Tokens at the start; they serve as the tokens' positions.
            positions: ``(1, N, C)`` positions of the image tokens.
        """
        if self.is_first:
            # The tokens are their own positions here, and are replaced, not added to.
            tokens = self.self_attn(tokens, tokens, tokens)
        else:
            placed = tokens + initial
            tokens = tokens + self.self_attn(placed, placed, tokens)
        tokens = self.norm1(tokens)
        placed_image = image + positions
        tokens = self.norm2(tokens + self.cross_attn_token_to_image(tokens + initial, placed_image, image))
        tokens = self.norm3(tokens + self.mlp(tokens))
        image = self.norm4(image + self.cross_attn_image_to_token(placed_image, tokens + initial, tokens))
        return tokens, image


class TwoWayTransformer(nn.Module):
    """Two two-way layers and a last look of the tokens at the image."""

    def __init__(self, dim: int, ffn_dim: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(TwoWayLayer(dim, ffn_dim, is_first=index == 0) for index in range(2))
        self.final_attn_token_to_image = Attention(dim, dim // 2, _NUM_HEADS)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(self, tokens: Tensor, image: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        initial = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, initial, positions)
        seen = self.final_attn_token_to_image(tokens + initial, image + positions, image)
        return self.norm_final_attn(tokens + seen), image


class MaskDecoder(nn.Module):
    """Predict four masks, their IoUs, and whether the object is there at all."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.config = config
        self.transformer = TwoWayTransformer(dim, config.decoder_ffn_dim)
        self.obj_score_token = nn.Embedding(1, dim)
        self.iou_token = nn.Embedding(1, dim)
        self.mask_tokens = nn.Embedding(_NUM_MASKS, dim)
        self.output_upscaling = nn.Sequential(
            nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2),
            LayerNorm2d(dim // 4),
            nn.GELU(),
            nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2),
            nn.GELU(),
        )
        self.conv_s0 = nn.Conv2d(dim, dim // 8, kernel_size=1)
        self.conv_s1 = nn.Conv2d(dim, dim // 4, kernel_size=1)
        self.output_hypernetworks_mlps = nn.ModuleList(MLP(dim, dim, dim, dim // 8) for _ in range(_NUM_MASKS))
        self.iou_prediction_head = MLP(dim, config.iou_head_dim, config.iou_head_dim, _NUM_MASKS)
        self.pred_obj_score_head = MLP(dim, dim, dim, 1)

    def forward(
        self,
        image: Tensor,
        fine_levels: tuple[Tensor, Tensor],
        positions: Tensor,
        sparse: Tensor,
        dense: Tensor,
        *,
        multimask: bool,
    ) -> DecodedMasks:
        """Decode masks. Batches of 1 are shared by all objects.

        Args:
            image: ``(B or 1, C, h, w)`` features, conditioned on memory or not.
            fine_levels: ``(B or 1, C/8, 4h, 4w)`` and ``(B or 1, C/4, 2h, 2w)``.
            positions: ``(1, h * w, C)``.
            sparse: ``(B or 1, P, C)`` encoded points.
            dense: ``(B or 1, C, h, w)`` or ``(1, C, 1, 1)`` encoded mask.
            multimask: Return the three candidates, else the single mask.
        """
        height, width = image.shape[-2:]
        own = torch.cat([self.obj_score_token.weight, self.iou_token.weight, self.mask_tokens.weight])
        tokens = torch.cat([own.expand(sparse.shape[0], -1, -1), sparse.to(own.dtype)], dim=1)
        source = (image + dense).flatten(2).transpose(1, 2)
        tokens, source = self.transformer(tokens, source, positions)
        presence_token, iou_token, mask_tokens = tokens[:, 0], tokens[:, 1], tokens[:, 2 : 2 + _NUM_MASKS]

        upscaled = self._upscale(source.transpose(1, 2).unflatten(2, (height, width)), fine_levels)
        iou = self.iou_prediction_head(iou_token).float().sigmoid()
        presence_logits = self.pred_obj_score_head(presence_token).float().squeeze(1)
        wanted = range(1, _NUM_MASKS) if multimask else range(_NUM_MASKS) if self._may_fall_back() else range(1)
        filters = torch.stack([self.output_hypernetworks_mlps[i](mask_tokens[:, i]) for i in wanted], dim=1)
        logits = (filters @ upscaled.flatten(2)).unflatten(2, upscaled.shape[-2:]).float()
        if multimask:
            return DecodedMasks(logits, iou[:, 1:], mask_tokens[:, 1:], presence_logits)
        if self._may_fall_back():
            logits, iou = self._stable(logits, iou)
        return DecodedMasks(logits, iou[:, :1], mask_tokens[:, :1], presence_logits)

    def _upscale(self, source: Tensor, fine_levels: tuple[Tensor, Tensor]) -> Tensor:
        enlarge1, norm, activate1, enlarge2, activate2 = self.output_upscaling
        fine, middle = fine_levels
        x = activate1(norm(enlarge1(source) + middle))
        return activate2(enlarge2(x) + fine)

    def _may_fall_back(self) -> bool:
        return self.config.stability_fallback and not self.training

    def _stable(self, logits: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the single mask where it is stable, else the candidate with the highest predicted IoU."""
        delta = self.config.stability_delta
        single = logits[:, 0].flatten(1)
        inner = (single > delta).sum(dim=1)
        outer = (single > -delta).sum(dim=1)
        stability = torch.where(outer > 0, inner / outer.clamp(min=1), 1.0)
        best = iou[:, 1:].argmax(dim=1) + 1
        choice = torch.where(stability >= self.config.stability_threshold, 0, best)
        rows = torch.arange(len(choice), device=choice.device)
        return logits[rows, choice].unsqueeze(1), iou[rows, choice].unsqueeze(1)
