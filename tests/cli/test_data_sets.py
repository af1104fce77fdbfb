"""``surgvos data list | prepare | check`` as a user meets them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from dataset_miniatures import endovis18_files, write_zips
from surgvos.cli.main import app
from surgvos.data.datasets import DATASETS


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["data", *map(str, arguments)])


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_zips(tmp_path_factory.mktemp("downloads"), endovis18_files())


@pytest.fixture(scope="module")
def prepared(downloads: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    out = tmp_path_factory.mktemp("prepared") / "endovis18"
    return out, run("prepare", "endovis18", "--source", downloads, "--out", out, "--partial")


def test_every_data_set_is_listed_with_its_address_and_archives() -> None:
    result = run("list")
    assert result.exit_code == 0, result.output
    for name, kind in DATASETS.items():
        assert f"{name}: {kind.title}" in result.output
        assert kind.access.address in result.output
        assert all(archive.name in result.output for archive in kind.archives)


def test_incomplete_downloads_are_refused_with_what_lacks_and_where_to_get_it(downloads: Path, tmp_path: Path) -> None:
    result = run("prepare", "endovis18", "--source", downloads, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "expected frames of seq_1 in train" in result.output
    assert "miccai_challenge_release_4.zip" in result.output
    assert "https://endovissub2018-roboticscenesegmentation.grand-challenge.org" in result.output
    assert result.output.rstrip().endswith(", or --partial to prepare the rest")
    assert not (tmp_path / "out").exists()


def test_partial_prepares_what_is_there(prepared: tuple[Path, Result]) -> None:
    out, result = prepared
    assert result.exit_code == 0, result.output
    assert f"2 videos, 6 frames in {out} (6 made, 0 kept)" in result.output
    assert "note: not prepared: frames of seq_3 in train (frames 003-148)" in result.output
    assert "more" in result.output


def test_a_prepared_data_set_is_recognised(prepared: tuple[Path, Result]) -> None:
    result = run("check", prepared[0])
    assert result.exit_code == 1
    assert "2 videos, 6 frames, 6 of them annotated" in result.output
    assert "fault: train/seq_1: expected 149 frames of train, got none" in result.output


def test_as_any_folder_it_is_sound(prepared: tuple[Path, Result], tmp_path: Path) -> None:
    own = shutil.copytree(prepared[0], tmp_path / "own")
    (own / "dataset.json").unlink()
    result = run("check", own)
    assert result.exit_code == 0, result.output


def test_downloads_can_be_checked_before(downloads: Path) -> None:
    result = run("check", downloads, "--dataset", "endovis18")
    assert result.exit_code == 1
    assert "lacks: frames of seq_1 in train" in result.output
    assert "miccai_challenge_release_4.zip" in result.output.splitlines()[-1]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("prepare", "endovis99", "--source", ".", "--out", "out"), "got 'endovis99'; try 'surgvos data list'"),
        (("prepare", "endovis18", "--source", "nowhere", "--out", "out"), "got 'nowhere', which does not exist"),
        (("prepare", "endovis17", "--source", ".", "--out", "out", "--as-published"), "got endovis17, which has none"),
        (("check", "nowhere"), "got 'nowhere', which is none"),
        (("check", ".", "--dataset", "endovis99"), "got 'endovis99'"),
    ],
)
def test_wrong_use_is_one_sentence(
    arguments: tuple[str, ...], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.output.startswith("surgvos: expected ")
    assert sentence in result.output
