"""Every command of the pages runs to its end, in the order of its page, on miniatures of what it needs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from docs.pages import COMMANDS, ROOT, lines
from docs.reader import WEIGHTS, prepare_data_of, short_run, use_miniatures, write_downloads, write_files
from label_miniatures import label_project
from surgvos.cli.main import app

ALSO = {
    "demo": ("--frames", "8"),
    "data synth": ("--num-clips", "1"),
    "benchmark --model": ("--frames", "1", "--size", "64", "--threads", "1"),
    "benchmark": ("--frames", "1"),
    "live --soak": ("--soak", "2s"),
}
"""What is appended to commands that begin so: the last word counts, so these make them short."""

OTHERS = {
    "pip install": "tests/test_repository.py, .ci/run",
    "make ": "the same commands as .ci/run",
    "pre-commit ": "the same commands as .ci/run",
    ".ci/run": "itself",
    "nnUNetv2_": "nnU-Net",
    "srun ": "SLURM",
    "ray ": "SLURM",
}
"""Programs that are not ours, and where what they stand for is done."""

HERE = [command for command in COMMANDS if not (command.is_server or command.is_of_processes)]
"""Those of this file; ``test_servers_run.py`` and ``test_processes_run.py`` run all others."""

PAGES = sorted({command.page for command in HERE})


@pytest.mark.parametrize("page", PAGES)
def test_commands_run(page: str, files: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "here"
    # One command prompts in frame 25.
    monkeypatch.chdir(write_files(here, 26) if page == "README.md" else shutil.copytree(files, here))
    use_miniatures(weights, monkeypatch)
    torch.set_num_threads(1)
    chosen = [command for command in HERE if command.page == page]
    if chosen[0].words[0] in ("evaluate", "export"):
        _run(("segment", "case.mp4", "--out", "out", "--mask", "0:labels.png"))
    for command in chosen:
        with monkeypatch.context() as patch:
            for name, _, value in (word.partition("=") for word in command.environment):
                patch.setenv(name, value.replace("/media/", ""))
            _prepare(command.words)
            _run((*(_here(word, weights) for word in command.words), *_more(command.words)))


def _here(word: str, weights: Path) -> str:
    """What a word of a page means in this folder."""
    if word == "value":  # what the command inside has printed
        return str(weights / "sees.safetensors")
    return str(weights / WEIGHTS[word]) if word in WEIGHTS else word.replace("/media/", "")


def _prepare(words: tuple[str, ...]) -> None:
    """Bring what a command begins with."""
    if words[:2] == ("data", "prepare"):
        source = Path(words[words.index("--source") + 1])
        write_downloads(words[2], source.parent if source.suffix else source)
    elif words[:2] == ("data", "check") and "--dataset" in words:
        write_downloads(words[-1], Path("downloads"))
    elif words[0] in ("segment", "import"):
        shutil.rmtree(words[words.index("--out") + 1], ignore_errors=True)
    elif words[0] == "train":
        prepare_data_of(words)
    elif words[0] == "label":
        shutil.rmtree(words[1])
        Path(words[1]).symlink_to(label_project(Path("labelled")))
    elif "sam2_from_transformers/" in words:
        from models.test_hf_layout import save_by_transformers, toy_model

        save_by_transformers(toy_model(), Path("sam2_from_transformers"))


def _more(words: tuple[str, ...]) -> tuple[str, ...]:
    if words[0] == "train":
        return tuple(short_run(words))
    return max(((begin, more) for begin, more in ALSO.items() if " ".join(words).startswith(begin)), default=("", ()))[
        1
    ]


def _run(words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, f"surgvos {' '.join(words)}\n{done.output}\n{done.exception!r}"


def test_other_programs_are_few_and_benchmarks_know_their_options() -> None:
    for page, line in lines():
        if script := re.search(r"python (benchmarks/\w+\.py)(.*)", line):
            source = (ROOT / script[1]).read_text(encoding="utf-8")
            assert all(f'"{option}"' in source for option in re.findall(r"--[a-z-]+", script[2])), (page, line)
        elif "surgvos" not in line and page != "docs/many_videos.md":
            shell = r"export |cp |for |done|results=|resume=|head=|sleep "
            assert line.startswith(tuple(OTHERS)) or re.match(shell, line), (page, line)
