"""Prompt files: what is written comes back exactly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from surgvos.data.prompt_files import describe_prompt, read_prompt_file, write_prompt_file
from surgvos.data.prompt_protocols import PromptProtocol, prompts_for_video
from surgvos.errors import InputError


@pytest.mark.parametrize("kind", ["mask", "point", "points", "box"])
def test_prompts_come_back_exactly(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(3)
    label_maps = [(index, rng.integers(0, 4, (31, 47), dtype=np.uint8)) for index in (0, 5)]
    protocol = PromptProtocol(kind=kind, box_jitter=0.1)  # type: ignore[arg-type]
    placed = prompts_for_video(label_maps, protocol, video="seq_2")
    write_prompt_file(tmp_path / "prompts.json", placed, "seq_2")
    found = read_prompt_file(tmp_path / "prompts.json", "seq_2")
    assert [describe_prompt(*prompt) for prompt in found] == [describe_prompt(*prompt) for prompt in placed]
    assert len(found) == 3


def test_a_file_without_a_video_is_for_any(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text('[{"frame": 0, "object": 1, "points": [[3, 4]]}]', encoding="utf-8")
    assert len(read_prompt_file(path, "seq_2")) == 1


def test_a_file_of_another_video_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.json"
    path.write_text('[{"video": "seq_5", "frame": 0, "object": 1, "points": [[3, 4]]}]', encoding="utf-8")
    with pytest.raises(InputError, match=r"expected prompts of video 'seq_2' in .*, got those of 'seq_5'"):
        read_prompt_file(path, "seq_2")
    assert len(read_prompt_file(path)) == 1
