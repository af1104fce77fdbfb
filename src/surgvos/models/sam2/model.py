"""SAM 2 as a stateless video model.

Reference: Ravi et al., SAM 2: Segment Anything in Images and Videos, 2024.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from surgvos.models.interface import (
    ABSENT_LOGIT,
    EncodedMemory,
    ImageFeatures,
    MaskPrediction,
    MemoryBatch,
    PromptBatch,
)
from surgvos.models.sam2.config import Sam2Config
from surgvos.models.sam2.layers import MLP
from surgvos.models.sam2.mask_decoder import DecodedMasks, MaskDecoder
from surgvos.models.sam2.memory_attention import MemoryAttention
from surgvos.models.sam2.memory_encoder import MemoryEncoder
from surgvos.models.sam2.neck import ImageEncoder
from surgvos.models.sam2.position import sine_encoding, time_encoding
from surgvos.models.sam2.prompt_encoder import PromptEncoder

_ADOPTED_LOGIT = 10.0
_MEMORY_MASK_SCALE = 20.0
_MEMORY_MASK_BIAS = -10.0


class Sam2Model(nn.Module):
    """SAM 2.0 and 2.1 of any size, with the published parameter names.

    Args:
        config: Sizes and switches.

    Example:
        >>> from surgvos.models.sam2 import Sam2Model, tiny
        >>> model = Sam2Model(tiny(image_size=512)).eval()
        >>> model.input_hw((1080, 1920))
        (512, 512)
    """

    resize: Literal["bicubic", "area"] = "bicubic"
    max_multimask_points = 1
    shares_keys = False
    memory_format = torch.contiguous_format
    compute_dtype: torch.dtype = torch.float32

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim, memory_dim = config.hidden_dim, config.memory_dim
        self.config = config
        self.num_recent = config.num_memory_slots - 1
        self.maskmem_tpos_enc = nn.Parameter(torch.zeros(config.num_memory_slots, 1, 1, memory_dim))
        self.no_mem_embed = nn.Parameter(torch.zeros(1, 1, dim))
        # Not used: an image without memory gets `no_mem_embed` directly. Published checkpoints hold it.
        self.no_mem_pos_enc = nn.Parameter(torch.zeros(1, 1, dim))
        self.no_obj_ptr = nn.Parameter(torch.zeros(1, dim))
        if config.absent_spatial_embedding:
            self.no_obj_embed_spatial = nn.Parameter(torch.zeros(1, memory_dim))
        self.image_encoder = ImageEncoder(config)
        self.mask_downsample = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.memory_attention = MemoryAttention(config)
        self.memory_encoder = MemoryEncoder(config)
        self.sam_prompt_encoder = PromptEncoder(config)
        self.sam_mask_decoder = MaskDecoder(config)
        self.obj_ptr_proj = MLP(dim, dim, dim, dim)
        if config.pointer_time_encoding:
            self.obj_ptr_tpos_proj = nn.Linear(dim, memory_dim)
        for table in (self.maskmem_tpos_enc, self.no_mem_embed, self.no_mem_pos_enc, self.no_obj_ptr):
            nn.init.trunc_normal_(table, std=0.02)
        if config.absent_spatial_embedding:
            nn.init.trunc_normal_(self.no_obj_embed_spatial, std=0.02)

    def input_hw(self, video_hw: tuple[int, int]) -> tuple[int, int]:
        """Input size: the same square for every video."""
        del video_hw
        return self.config.image_size, self.config.image_size

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """Encode normalised RGB images ``(N, 3, H, W)`` into levels at strides 4, 8 and 16."""
        decoder = self.sam_mask_decoder
        return ImageFeatures(self.image_encoder(images, (decoder.conv_s0, decoder.conv_s1)))

    def condition(self, features: ImageFeatures, memory: MemoryBatch | None) -> Tensor:
        """Let each object's memory look at the image: ``(B or N, C, h, w)``. None: nothing is remembered."""
        image = features.levels[-1]
        if memory is None:
            return image + self.no_mem_embed.view(1, -1, 1, 1)
        height, width = image.shape[-2:]
        positions = sine_encoding(self.config.hidden_dim, height, width, image.device)
        key, value, num_pointer_tokens = self._memory_tokens(memory)
        return self.memory_attention(image, positions, key, value, num_pointer_tokens)

    def decode(
        self, features: ImageFeatures, conditioned: Tensor, prompts: PromptBatch | None, *, multimask: bool
    ) -> MaskPrediction:
        """Predict masks. ``prompts`` None means: follow what ``conditioned`` remembers."""
        if prompts is not None and prompts.mask is not None:
            return self._adopt_mask(features, prompts.mask)
        sparse, dense = self._encode_prompts(prompts, (conditioned.shape[-2], conditioned.shape[-1]))
        return self._predict(features, conditioned, sparse, dense, multimask=multimask)

    def _encode_prompts(self, prompts: PromptBatch | None, grid_hw: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Turn prompts into what the decoder takes: tokens, and a map for the grid."""
        encoder = self.sam_prompt_encoder
        sparse, dense = encoder.no_points(), encoder.no_mask()
        if prompts is not None:
            sparse = encoder.encode_points(prompts.points_xy, prompts.labels, (16 * grid_hw[0], 16 * grid_hw[1]))
            if prompts.previous_logits is not None:
                dense = encoder.encode_mask(prompts.previous_logits, grid_hw)
        return sparse, dense

    def _predict(
        self, features: ImageFeatures, conditioned: Tensor, sparse: Tensor, dense: Tensor, *, multimask: bool
    ) -> MaskPrediction:
        """Decode, and say of absent objects that they are absent."""
        decoded = self._run_decoder(features, conditioned, sparse, dense, multimask=multimask)
        present = decoded.presence_logits > 0
        logits = decoded.logits
        if not self.training:
            logits = torch.where(present[:, None, None, None], logits, ABSENT_LOGIT)
        pointers = self._pointers(decoded.tokens, present)
        return MaskPrediction(logits, decoded.iou, decoded.presence_logits, pointers)

    def encode_memory(
        self, features: ImageFeatures, logits: Tensor, presence_logits: Tensor, *, prompted: bool
    ) -> EncodedMemory:
        """Encode masks ``(B, 1, h, w)`` of a frame into memory.

        Args:
            features: The frame's features.
            logits: Mask logits as `decode` gives them.
            presence_logits: ``(B,)``.
            prompted: Whether a user's prompt made the masks.
        """
        image = features.levels[-1]
        size = (16 * image.shape[-2], 16 * image.shape[-1])
        logits = F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)
        binarize = prompted and self.config.binarize_prompted_memory and not self.training
        masks = (logits > 0).float() if binarize else logits.sigmoid()
        memory = self.memory_encoder(image, masks * _MEMORY_MASK_SCALE + _MEMORY_MASK_BIAS)
        if self.config.absent_spatial_embedding:
            absent = (presence_logits <= 0).to(memory.dtype)
            memory = memory + absent[:, None, None, None] * self.no_obj_embed_spatial[:, :, None, None]
        # Memories are published, and stored, in bfloat16.
        return EncodedMemory(memory if self.training else memory.to(torch.bfloat16))

    def _memory_tokens(self, memory: MemoryBatch) -> tuple[Tensor, Tensor, int]:
        """Lay out memory as tokens: keys and values ``(B, tokens, C_m)``, and how many of them are pointers'."""
        dtype = self.maskmem_tpos_enc.dtype
        *_, height, width = memory.features.shape
        places = sine_encoding(self.config.memory_dim, height, width, memory.features.device)
        # Slot 0 is the last row of the table, slot r the row r - 1: Python's negative index.
        moments = self.maskmem_tpos_enc[memory.slots - 1].squeeze(3)
        value = memory.features.flatten(3).transpose(2, 3).to(dtype)
        key = value + places.flatten(1).T + moments
        key, value = key.flatten(1, 2), value.flatten(1, 2)
        if memory.pointers is None or memory.pointers.shape[1] == 0:
            return key, value, 0
        pointer_key, pointer_value = self._pointer_tokens(memory.pointers.to(dtype), memory.pointer_offsets)
        key = torch.cat([key, pointer_key], dim=1)
        value = torch.cat([value, pointer_value], dim=1)
        return key, value, pointer_value.shape[1]

    def _pointer_tokens(self, pointers: Tensor, offsets: Tensor | None) -> tuple[Tensor, Tensor]:
        """Cut pointers ``(B, P, C)`` into tokens of memory's width: keys and values."""
        pieces = self.config.tokens_per_pointer
        value = pointers.unflatten(2, (pieces, -1)).flatten(1, 2)
        if not self.config.pointer_time_encoding:
            return value, value
        assert offsets is not None
        moments = self.obj_ptr_tpos_proj(time_encoding(offsets, self.config.hidden_dim).to(pointers.dtype))
        return value + moments.repeat_interleave(pieces, dim=1), value

    def _run_decoder(
        self, features: ImageFeatures, image: Tensor, sparse: Tensor, dense: Tensor, *, multimask: bool
    ) -> DecodedMasks:
        positions = self.sam_prompt_encoder.grid_encoding((image.shape[-2], image.shape[-1]))
        fine, middle, _ = features.levels
        return self.sam_mask_decoder(image, (fine, middle), positions, sparse, dense, multimask=multimask)

    def _adopt_mask(self, features: ImageFeatures, mask: Tensor) -> MaskPrediction:
        """Answer with the prompt itself; the network is asked for a pointer only, without any memory."""
        image = features.levels[-1]
        grid_hw = (image.shape[-2], image.shape[-1])
        mask = mask.float()
        logits = F.interpolate(
            mask * (2 * _ADOPTED_LOGIT) - _ADOPTED_LOGIT,
            size=(4 * grid_hw[0], 4 * grid_hw[1]),
            mode="bilinear",
            align_corners=False,
            antialias=True,
        )
        encoder = self.sam_prompt_encoder
        dense = encoder.encode_mask(self.mask_downsample(mask), grid_hw)
        decoded = self._run_decoder(features, image, encoder.no_points(), dense, multimask=False)
        drawn = mask.flatten(1).any(dim=1)
        # The pointer says "absent" if either the decoder or the prompt does.
        pointers = self._pointers(decoded.tokens, drawn & (decoded.presence_logits > 0))
        presence_logits = torch.where(drawn, _ADOPTED_LOGIT, -_ADOPTED_LOGIT)
        return MaskPrediction(logits, logits.new_ones(len(mask), 1), presence_logits, pointers)

    def _pointers(self, tokens: Tensor, present: Tensor) -> Tensor:
        """Turn mask tokens ``(B, K, C)`` into pointers; absent objects all share one."""
        pointers = self.obj_ptr_proj(tokens).float()
        return torch.where(present[:, None, None], pointers, self.no_obj_ptr.float())
