"""A text tower of CLIP's make with random weights and letters for words, for tests without a network."""

from __future__ import annotations

import json
import tempfile
from functools import cache
from pathlib import Path

import torch

BEGIN, END = "<|startoftext|>", "<|endoftext|>"
WIDTH = 24


@cache
def tiny_clip_folder() -> Path:
    """Write the tower and its tokeniser into a folder that lasts as long as the tests."""
    folder = Path(tempfile.mkdtemp(prefix="tiny-clip-"))
    write_tiny_clip(folder)
    return folder


def write_tiny_clip(folder: Path) -> None:
    """Write a tower of two narrow layers, and a tokeniser that knows single bytes only."""
    from transformers import CLIPTextConfig, CLIPTextModel

    letters = _letters_of_bytes()
    vocabulary = [*letters, *(f"{letter}</w>" for letter in letters), BEGIN, END]
    numbers = {piece: number for number, piece in enumerate(vocabulary)}
    (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    special = {"bos_token": BEGIN, "eos_token": END, "unk_token": END, "pad_token": END}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    ends = {"bos_token_id": numbers[BEGIN], "eos_token_id": numbers[END], "pad_token_id": numbers[END]}
    sizes = {"hidden_size": WIDTH, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        tower = CLIPTextModel(CLIPTextConfig(vocab_size=len(vocabulary), projection_dim=WIDTH, **sizes, **ends))
        with torch.no_grad():
            for parameter in tower.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    tower.save_pretrained(folder)


def _letters_of_bytes() -> list[str]:
    """One visible character for each byte: itself where it is visible, else one from beyond."""
    visible = {*range(33, 127), *range(161, 173), *range(174, 256)}
    beyond = iter(range(256, 512))
    return [chr(byte) if byte in visible else chr(next(beyond)) for byte in range(256)]
