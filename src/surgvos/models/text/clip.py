"""The text tower of CLIP: frozen, loaded when the first phrase is read, and asked once per phrase.

Reference: Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from surgvos.errors import CheckpointError, InputError
from surgvos.models.folders import find_mirrored
from surgvos.models.sam2.layers import without_autocast

PUBLISHED = "openai/clip-vit-base-patch32"
"""What ReSurgSAM2 was trained with, on the Hugging Face hub."""

FOLDER_VARIABLE = "SURGVOS_CLIP"
"""Environment variable that names a folder to read from instead."""

_MAX_PHRASES = 256


@dataclass(frozen=True, slots=True, eq=False)
class ReadPhrases:
    """What CLIP makes of ``B`` phrases.

    Attributes:
        hidden: ``(B, P, C)`` normed last hidden states of all positions, beginning, end and padding among them.
        is_token: bool ``(B, P)``, False where a phrase has ended.
        pooled: ``(B, C)`` the state at each phrase's end.
    """

    hidden: Tensor
    is_token: Tensor
    pooled: Tensor


class ClipTextTower:
    """CLIP's text tower and tokeniser, in float32.

    Any text has an answer: the tokeniser falls back to single bytes where it knows no longer piece.

    Args:
        source: Name on the Hugging Face hub, or a folder with the tower and the tokeniser's files; the folder that
            the environment variable `SURGVOS_CLIP` names goes before it.
    """

    def __init__(self, source: str | Path = PUBLISHED) -> None:
        self.source = str(source)
        self._tower: Any = None
        self._tokenizer: Any = None
        self._read: OrderedDict[str, ReadPhrases] = OrderedDict()

    def __call__(self, phrases: Sequence[str], device: torch.device) -> ReadPhrases:
        """Read phrases; each is read by itself, once as long as it is among the last few hundred.

        Raises:
            InputError: A phrase is too long.
            CheckpointError: The tower cannot be loaded.
        """
        # What is kept shall be of use in training as well, which tensors made in inference mode are not.
        with torch.inference_mode(False), torch.no_grad(), without_autocast(device):
            rows = [self._lookup(phrase, device) for phrase in phrases]
        return ReadPhrases(
            torch.cat([row.hidden for row in rows]),
            torch.cat([row.is_token for row in rows]),
            torch.cat([row.pooled for row in rows]),
        )

    def read_ids(self, ids: Sequence[int], padding: int, device: torch.device) -> ReadPhrases:
        """Read one phrase that was cut into tokens, its beginning and end among them.

        Args:
            ids: Of the tokens.
            padding: Id that fills the positions behind them.
            device: Where to read.
        """
        tower = self._tower = self._tower.to(device)
        num_padding = tower.config.max_position_embeddings - len(ids)
        input_ids = torch.tensor([[*ids, *[padding] * num_padding]], device=device)
        is_token = torch.arange(input_ids.shape[1], device=device)[None] < len(ids)
        out = tower(input_ids=input_ids, attention_mask=is_token.long())
        return ReadPhrases(out.last_hidden_state, is_token, out.pooler_output)

    def _lookup(self, phrase: str, device: torch.device) -> ReadPhrases:
        found = self._read.get(phrase)
        if found is None or found.hidden.device != device:
            found = self._read[phrase] = self._read_phrase(phrase, device)
        self._read.move_to_end(phrase)
        if len(self._read) > _MAX_PHRASES:
            self._read.popitem(last=False)
        return found

    def _read_phrase(self, phrase: str, device: torch.device) -> ReadPhrases:
        if self._tower is None:
            source = os.environ.get(FOLDER_VARIABLE) or _mirrored(self.source) or self.source
            self._tokenizer, self._tower = _load(source)
        ids = self._tokenizer(phrase, verbose=False)["input_ids"]
        most = self._tower.config.max_position_embeddings
        if len(ids) > most:
            raise InputError(
                f"expected a phrase of at most {most - 2} tokens, which are words and pieces of words, got "
                f"{len(ids) - 2} in '{phrase[:40]}...', try to say it shorter"
            )
        return self.read_ids(ids, self._tokenizer.pad_token_id, device)


def _mirrored(source: str) -> str | None:
    """The folder of a mirror that holds a repository of the hub, under the last part of its name."""
    found = find_mirrored(source.rpartition("/")[2])
    return None if found is None else str(found)


def _load(source: str) -> tuple[Any, Any]:
    """Load tokeniser and tower from a folder or the hub, frozen."""
    from transformers import AutoTokenizer, CLIPTextModel

    try:
        tokenizer = AutoTokenizer.from_pretrained(source)
        tower = CLIPTextModel.from_pretrained(source)
    except Exception as error:  # networks and folders fail in many ways
        reason = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"expected the text tower of CLIP at {source}, got {type(error).__name__}: {reason}, "
            f"try again online, or name a folder that holds it and its tokeniser by {FOLDER_VARIABLE}"
        ) from error
    return tokenizer, tower.float().eval().requires_grad_(False)
