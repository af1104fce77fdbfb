"""Phrases as tokens: words are told by their letters, so that no phrase is out of vocabulary."""

from __future__ import annotations

import re
import unicodedata
import zlib
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from surgvos.errors import InputError
from surgvos.models.devices import upload
from surgvos.models.interface import TextFeatures

_NUM_LETTERS = (3, 4, 5)
_WORD = re.compile(r"\w+")


def words_of(phrase: str) -> list[str]:
    """Words of a phrase in small letters, without punctuation.

    Raises:
        InputError: There is no word in it.
    """
    words = _WORD.findall(unicodedata.normalize("NFKC", phrase).casefold())
    if not words:
        raise InputError(f"expected a phrase with at least one word, got {phrase!r}; try 'needle driver on the left'")
    return words


@lru_cache(maxsize=4096)
def buckets_of(word: str, num_buckets: int) -> tuple[int, ...]:
    """Buckets of a word and of its runs of 3 to 5 letters.

    Reference: Bojanowski et al., Enriching Word Vectors with Subword Information (TACL 2017).
    """
    spelled = f"<{word}>"
    runs = {spelled[i : i + n] for n in _NUM_LETTERS for i in range(len(spelled) - n + 1)} | {spelled}
    # A checksum, because Python's own hash changes from run to run.
    return tuple(sorted(zlib.crc32(run.encode()) % num_buckets for run in runs))


class PhraseEncoder(nn.Module):
    """Embed words by their letters, and let them attend to each other.

    Args:
        width: Channels of a token.
        num_buckets: Of runs of letters.
        max_words: Longest phrase.
        depth: Layers.
    """

    def __init__(self, width: int, num_buckets: int, max_words: int, depth: int) -> None:
        super().__init__()
        self.num_buckets, self.max_words = num_buckets, max_words
        self.letters = nn.Embedding(num_buckets, width)
        self.order = nn.Parameter(torch.randn(max_words, width) * 0.1)
        self.layers = nn.ModuleList(attention_layer(width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, phrases: Sequence[str]) -> TextFeatures:
        """Encode phrases.

        Raises:
            InputError: A phrase has no word, or more than `max_words`.
        """
        spoken = [words_of(phrase) for phrase in phrases]
        for phrase, words in zip(phrases, spoken, strict=True):
            if len(words) > self.max_words:
                raise InputError(
                    f"expected a phrase of at most {self.max_words} words, got {len(words)} in {phrase[:40]!r}...; "
                    "try saying only what tells the object apart"
                )
        lengths = torch.tensor([len(words) for words in spoken], device=self.order.device)
        is_token = torch.arange(int(lengths.max()), device=self.order.device) < lengths[:, None]
        tokens = self.order.new_zeros((*is_token.shape, self.order.shape[1]))
        tokens[is_token] = self._embed([word for words in spoken for word in words]).to(tokens.dtype)
        tokens = tokens + self.order[: is_token.shape[1]]
        for layer in self.layers:
            tokens = layer(tokens, src_key_padding_mask=~is_token)
        tokens = self.norm(tokens) * is_token[..., None]
        return TextFeatures(tokens, is_token, tokens.sum(dim=1) / lengths[:, None])

    def _embed(self, words: Sequence[str]) -> Tensor:
        """The mean of each word's runs of letters, ``(W, width)``."""
        # Not by an `EmbeddingBag`, for which PyTorch had no kernel on Apple's GPUs for long.
        buckets = [torch.tensor(buckets_of(word, self.num_buckets)) for word in words]
        padded = upload(pad_sequence(buckets, batch_first=True, padding_value=-1), self.order.device)
        is_run = (padded >= 0)[..., None]
        return (self.letters(padded.clamp(min=0)) * is_run).sum(dim=1) / is_run.sum(dim=1)


def attention_layer(width: int) -> nn.TransformerEncoderLayer:
    """A layer in which tokens ``(B, L, width)`` attend to each other."""
    # No dropout: scenes never repeat, and without it attention takes a third of the time on a CPU.
    return nn.TransformerEncoderLayer(
        width, nhead=4, dim_feedforward=2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
