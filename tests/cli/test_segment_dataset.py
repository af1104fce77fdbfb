"""``surgvos segment --dataset``: what comes out of a whole data set, and that one bad video costs no other."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from typer.testing import CliRunner, Result

from surgvos.batch.prompt_sources import FIRST_ID_OF_NOTHING, PROMPTS
from surgvos.cli.main import app
from surgvos.core.prompts import MaskPrompt, PointPrompt, TextPrompt
from surgvos.data.phrases import Phrase, write_phrases
from surgvos.data.prompt_files import read_prompt_file
from surgvos.io.masks import read_label_map
from surgvos.models.checkpoints import save_model
from surgvos.models.nano import NanoModel, ReferringNanoConfig
from surgvos.models.nano.referring import ReferringNano
from training.tiny import TINY_NANO
from vos_miniatures import HW, NUM_FRAMES, VALID, label_map_of, write_endovis18


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_model(path, NanoModel(replace(TINY_NANO, input_area_px=64 * 64)))
    return path


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of a model that reads phrases."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "reads.safetensors"
    sizes = {field.name: getattr(TINY_NANO, field.name) for field in fields(TINY_NANO)}
    save_model(path, ReferringNano(ReferringNanoConfig(**(sizes | {"input_area_px": 64 * 64}))))
    return path


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "VOS-Endovis18"
    write_endovis18(folder)
    return folder


@pytest.fixture(scope="module")
def whole_run(tmp_path_factory: pytest.TempPathFactory, root: Path, weights: Path) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    result = segment(root, out, weights)
    assert result.exit_code == 0, result.output
    assert [line.split(", ")[:2] for line in result.output.splitlines()[:2]] == [
        [f"{video}: {NUM_FRAMES} frames", "2 objects"] for video in VALID
    ]
    assert result.output.splitlines()[2] == f"2 of 2 videos in {out}"
    return out


def segment(root: Path, out: Path, weights: Path, *arguments: str, dataset: str = "endovis18") -> Result:
    command = ["segment", str(root), "--dataset", dataset, "--out", str(out), "--model", str(weights), *arguments]
    return CliRunner().invoke(app, command)


def files_of(folder: Path) -> dict[str, bytes]:
    kept = ("frames.jsonl", "prompts.json", ".png")
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if str(p).endswith(kept)}


def test_every_video_has_masks_log_record_and_prompts(whole_run: Path) -> None:
    for video in VALID:
        masks = sorted((whole_run / video / "masks").iterdir())
        assert [path.name for path in masks] == [f"{index:05d}.png" for index in range(NUM_FRAMES)]
        assert read_label_map(masks[0]).shape == HW
        assert len((whole_run / video / "frames.jsonl").read_text().splitlines()) == NUM_FRAMES
        assert json.loads((whole_run / video / "run.json").read_text())["status"] == "done"


def test_objects_are_prompted_where_they_first_appear(whole_run: Path) -> None:
    for video, first_frames in VALID.items():
        placed = read_prompt_file(whole_run / video / "prompts.json", video)
        assert {object_id: frame for frame, object_id, _ in placed} == first_frames
        for frame, object_id, prompt in placed:
            assert isinstance(prompt, MaskPrompt)
            np.testing.assert_array_equal(prompt.mask, label_map_of(first_frames, frame) == object_id)
    lines = (whole_run / "seq_5/frames.jsonl").read_text().splitlines()
    assert [sorted(json.loads(line)["objects"]) for line in lines] == [["1"]] * 3 + [["1", "4"]] * 3


def test_the_prompts_of_a_run_give_the_same_masks_to_a_single_video(
    tmp_path: Path, whole_run: Path, root: Path, weights: Path
) -> None:
    images, prompts = root / "valid/JPEGImages/seq_5", whole_run / "seq_5/prompts.json"
    command = ["segment", str(images), "--out", str(tmp_path / "out"), "--model", str(weights)]
    result = CliRunner().invoke(app, [*command, "--prompts", str(prompts)])
    assert result.exit_code == 0, result.output
    single, whole = files_of(tmp_path / "out"), files_of(whole_run / "seq_5")
    assert single == {name: content for name, content in whole.items() if name != "prompts.json"}
    other = CliRunner().invoke(app, [*command, "--prompts", str(whole_run / "seq_2/prompts.json")])
    assert other.exit_code == 2
    assert "expected prompts of video 'seq_5'" in other.output
    assert other.output.strip().endswith("got those of 'seq_2'")
    # And to the whole data set.
    again = segment(root, tmp_path / "again", weights, "--prompts", str(whole_run))
    assert again.exit_code == 0, again.output
    assert files_of(tmp_path / "again") == files_of(whole_run)


def test_frames_are_encoded_once_for_all_objects(
    tmp_path: Path, root: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 0
    encode = NanoModel.encode_image

    def counting(self: NanoModel, images: torch.Tensor) -> object:
        nonlocal count
        count += len(images)
        return encode(self, images)

    monkeypatch.setattr(NanoModel, "encode_image", counting)
    assert segment(root, tmp_path / "out", weights, "--videos", "seq_2").exit_code == 0
    assert count == NUM_FRAMES
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ledger.jsonl", "seq_2"]


def test_a_file_per_object_holds_overlap_and_begins_with_its_prompt(tmp_path: Path, root: Path, weights: Path) -> None:
    out = tmp_path / "out"
    result = segment(root, out, weights, "--per-object", "--overlap", "--overlay", "--videos", "seq_5")
    assert result.exit_code == 0, result.output
    names = {path.name: sorted(p.name for p in path.iterdir()) for path in (out / "seq_5/masks").iterdir()}
    assert names == {
        "001": [f"{index:05d}.png" for index in range(NUM_FRAMES)],
        "004": [f"{index:05d}.png" for index in range(3, NUM_FRAMES)],
    }
    assert set(np.unique(read_label_map(out / "seq_5/masks/004/00003.png"))) <= {0, 4}
    assert (out / "seq_5/overlay.mp4").stat().st_size > 0


@pytest.mark.parametrize(
    ("layout", "num_frames"),
    # Without the first and last frame that speak of the object; a file of its own begins with its prompt.
    [((), {"1": 4, "4": 2}), (("--per-object", "--overlap"), {"1": 4, "4": 1})],
    ids=["label maps", "per object"],
)
def test_what_comes_out_can_be_evaluated(
    tmp_path: Path, root: Path, weights: Path, layout: tuple[str, ...], num_frames: dict[str, int]
) -> None:
    out, scores = tmp_path / "out", tmp_path / "scores.json"
    assert segment(root, out, weights, *layout).exit_code == 0
    truth = root / "valid/Annotations"
    command = ["evaluate", str(out), str(truth), "--protocol", "surgsam2", "--json", str(scores)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    objects = json.loads(scores.read_text())["objects"]
    assert {video: sorted(map(int, found)) for video, found in objects.items()} == {
        video: sorted(first_frames) for video, first_frames in VALID.items()
    }
    assert {object_id: found["num_frames"] for object_id, found in objects["seq_5"].items()} == num_frames


def test_a_broken_video_costs_no_other_and_is_gone_on_with(
    tmp_path: Path, whole_run: Path, root: Path, weights: Path
) -> None:
    images = root / "valid/JPEGImages/seq_2/00004.png"
    sound = images.read_bytes()
    out = tmp_path / "out"
    try:
        images.write_bytes(sound[: len(sound) // 2])
        result = segment(root, out, weights)
    finally:
        images.write_bytes(sound)
    assert result.exit_code == 1
    assert "seq_2: failed: expected a readable image" in result.stderr
    assert result.stderr.strip().endswith("try the same command with --resume once they are repaired")
    assert "1 of 2 videos" in result.stdout
    assert files_of(out / "seq_5") == files_of(whole_run / "seq_5")
    before = (out / "seq_5/run.json").stat().st_mtime_ns
    again = segment(root, out, weights, "--resume")
    assert again.exit_code == 0, again.output
    assert "seq_5: 6 frames, 2 objects, finished before" in again.output
    assert files_of(out) == files_of(whole_run)
    assert (out / "seq_5/masks/00000.png").stat().st_mtime_ns < before


def test_objects_and_points_can_be_chosen(tmp_path: Path, root: Path, weights: Path) -> None:
    chosen = ("--prompt", "points,num_points=3,first_point=centroid", "--objects", "4", "--annotations", "Annotations")
    result = segment(root, tmp_path / "out", weights, "--videos", "seq_5", *chosen)
    assert result.exit_code == 0, result.output
    ((frame, object_id, prompt),) = read_prompt_file(tmp_path / "out/seq_5/prompts.json")
    assert (frame, object_id) == (3, 4)
    assert isinstance(prompt, PointPrompt)
    assert len(prompt.points_xy) == 3


def test_any_folder_in_the_layout_of_davis(tmp_path: Path, root: Path, weights: Path) -> None:
    result = segment(root / "valid", tmp_path / "out", weights, dataset="vos")
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["ledger.jsonl", "seq_2", "seq_5"]


class TestBadInput:
    """One sentence and exit code 2, before anything is segmented."""

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            (("--dataset", "endovis19"), "got 'endovis19'; try 'endovis18'"),
            (("--split", "test"), "expected a split of endovis18 in ['train', 'valid'], got 'test'"),
            (("--split", "train"), "expected videos of endovis18"),
            (("--videos", "seq_9"), "expected videos of seq_2, seq_5"),
            (("--objects", "1;2"), "expected object ids separated by commas"),
            (("--prompt", "scribble"), "got 'scribble'"),
            (("--prompt", "points,num_point=3"), "try 'num_points'"),
            (("--prompts", "nowhere"), "expected a folder with VIDEO/prompts.json"),
            (("--prompts", ".", "--prompt", "box"), "expected --prompt or --prompts, got both"),
            (("--point", "1@0:3,4"), "expected --point only as an option of a single video"),
            (("--start", "0"), "expected --start only as an option of a single video"),
            (("--memory", "sieve"), "a memory policy"),
            (("--model", "no-such-model"), "'no-such-model'"),
        ],
    )
    def test_options(self, tmp_path: Path, root: Path, weights: Path, arguments: tuple[str, ...], said: str) -> None:
        result = segment(root, tmp_path / "out", weights, *arguments)
        assert result.exit_code == 2, result.output
        assert said in result.stderr
        assert len(result.stderr.strip().splitlines()) == 1
        assert not (tmp_path / "out").exists()

    def test_a_folder_with_results(self, whole_run: Path, root: Path, weights: Path) -> None:
        result = segment(root, whole_run, weights)
        assert result.exit_code == 2
        assert "with those of seq_2; try --resume" in result.stderr

    def test_other_settings_are_not_gone_on_with(self, tmp_path: Path, root: Path, weights: Path) -> None:
        arguments = ("--videos", "seq_2")
        assert segment(root, tmp_path / "out", weights, *arguments).exit_code == 0
        result = segment(root, tmp_path / "out", weights, *arguments, "--overlap", "--resume")
        assert result.exit_code == 1
        assert "expected the settings of the stopped run, got others (session)" in result.stderr

    def test_options_of_a_data_set_need_one(self, tmp_path: Path, root: Path, weights: Path) -> None:
        command = ["segment", str(root), "--out", str(tmp_path / "out"), "--model", str(weights), "--objects", "1"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 2
        assert "expected --objects only as an option of --dataset" in result.output

    def test_a_label_map_without_a_frame(self, tmp_path: Path, weights: Path) -> None:
        folder = write_endovis18(tmp_path / "data", {"seq_9": {1: 0}})
        (folder / "JPEGImages/seq_9/00000.png").unlink()
        result = segment(tmp_path / "data", tmp_path / "out", weights)
        assert result.exit_code == 1
        assert "seq_9: failed: expected a frame '00000' of video 'seq_9'" in result.stderr


class TestPhrases:
    """``--prompt text``: what the data set calls its objects is looked for."""

    BOOK: ClassVar = {
        "seq_2": (
            Phrase(phrase="needle driver", object=1),
            Phrase(phrase="the bent one", object=1, start="00002"),
            Phrase(phrase="no such thing", object=None),
        ),
        "seq_5": (Phrase(phrase="suction", object=1), Phrase(phrase="grasper", object=4, start="00003")),
    }

    def test_one_object_for_each_and_the_result_can_be_evaluated(self, tmp_path: Path, root: Path, reads: Path) -> None:
        write_phrases(root / "valid/phrases.json", self.BOOK)
        out = tmp_path / "out"
        try:
            result = segment(root, out, reads, "--prompt", "text", "--per-object", "--overlap", "--published-search")
        finally:
            (root / "valid/phrases.json").unlink()
        assert result.exit_code == 0, result.output
        assert read_prompt_file(out / "seq_2" / PROMPTS) == [
            (0, 1, TextPrompt("needle driver")),
            (0, FIRST_ID_OF_NOTHING, TextPrompt("no such thing")),
            (2, 1, TextPrompt("the bent one")),
        ]
        assert read_prompt_file(out / "seq_5" / PROMPTS) == [
            (0, 1, TextPrompt("suction")),
            (3, 4, TextPrompt("grasper")),
        ]
        scores = tmp_path / "scores.json"
        command = ["evaluate", str(out), str(root / "valid/Annotations"), "--protocol", "resurgsam2", "--referring"]
        evaluated = CliRunner().invoke(app, [*command, "--json", str(scores)])
        assert evaluated.exit_code == 0, evaluated.output
        found = json.loads(scores.read_text())["finding"]["objects"]
        assert {video: sorted(map(int, objects)) for video, objects in found.items()} == {
            "seq_2": [1, FIRST_ID_OF_NOTHING],
            "seq_5": [1, 4],
        }

    def test_a_set_without_phrases_is_refused(self, tmp_path: Path, root: Path, reads: Path) -> None:
        result = segment(root, tmp_path / "out", reads, "--prompt", "text")
        assert result.exit_code == 2
        assert "expected a JSON file of phrases" in result.stderr
