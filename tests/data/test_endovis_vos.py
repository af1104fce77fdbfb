"""The published object masks: copied as they are, with frames of their own or of the challenge."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dataset_miniatures import (
    Files,
    contents,
    object_map,
    vos_endovis17,
    vos_endovis17_files,
    vos_endovis18,
    vos_endovis18_files,
    write_folder,
)
from surgvos.data.dataset import DataSet
from surgvos.data.dataset_check import check_dataset
from surgvos.errors import InputError
from surgvos.io.image_folder import decode_image, read_image


def prepare(dataset: DataSet, files: Files, tmp_path: Path) -> tuple[Path, tuple[str, ...]]:
    done = dataset.prepare([write_folder(tmp_path / "source", files)], tmp_path / "out")
    return tmp_path / "out", done.notes


def test_label_maps_are_copied_and_frames_come_cropped_from_the_challenge(tmp_path: Path) -> None:
    files = vos_endovis17_files()
    out, _ = prepare(vos_endovis17(), files, tmp_path)
    assert (out / "valid/Annotations/seq_9/00001.png").read_bytes() == files[
        "VOS-Endovis17/VOS-Endovis17/valid/Annotations/seq_9/00001.png"
    ]
    source = decode_image(files["instrument_9_10_testing/instrument_dataset_9/left_frames/frame001.png"], "")
    np.testing.assert_array_equal(read_image(out / "valid/JPEGImages/seq_9/00001.png"), source[28:1052, 320:1600])


def test_frames_of_their_own_and_grey_label_maps_are_taken_as_they_are(tmp_path: Path) -> None:
    files = vos_endovis17_files()
    out, notes = prepare(vos_endovis17(), files, tmp_path)
    for kind, suffix in (("JPEGImages", "jpg"), ("Annotations", "png")):
        copied = (out / f"train/{kind}/seq_2/00001.{suffix}").read_bytes()
        assert copied == files[f"VOS-Endovis17/VOS-Endovis17/train/{kind}/seq_2/00001.{suffix}"]
    assert any("train/seq_2" in note for note in notes)
    assert [video.name for video in vos_endovis17().videos(out, "train")] == ["seq_2"]


def test_given_prompts_are_kept_and_missing_ones_are_made(tmp_path: Path) -> None:
    out, _ = prepare(vos_endovis18(), vos_endovis18_files(), tmp_path)
    prompts = out / "valid/VOS/Annotations_vos_instrument/seq_5"
    assert [path.name for path in sorted(prompts.iterdir())] == ["00000.png", "00001.png"]
    assert not (out / "train/VOS").exists()


def test_an_archive_with_frames_can_be_used_directly(tmp_path: Path) -> None:
    """What was prepared is itself a source, with the same result, and is sound without preparing."""
    out, _ = prepare(vos_endovis18(), vos_endovis18_files(), tmp_path)
    before = contents(out)
    (out / "dataset.json").unlink()
    assert not check_dataset(vos_endovis18(), out)[1]
    vos_endovis18().prepare([out], tmp_path / "again")
    assert contents(tmp_path / "again") == before


def test_a_wrong_prompt_is_a_fault(tmp_path: Path) -> None:
    out, _ = prepare(vos_endovis18(), vos_endovis18_files(), tmp_path)
    prompts = out / "valid/VOS/Annotations_vos_instrument/seq_5"
    (prompts / "00001.png").write_bytes(object_map((1, 7), 300))
    faults = check_dataset(vos_endovis18(), out)[1]
    assert faults == ["valid/seq_5: expected the prompt of object 7 to be its mask on frame 00001, got another"]
    (prompts / "00001.png").rename(prompts / "00002.png")
    faults = check_dataset(vos_endovis18(), out)[1]
    assert faults == ["valid/seq_5: expected the prompt of object 7 on frame 00001, got 00002"]


def test_label_maps_of_another_size_are_refused(tmp_path: Path) -> None:
    path = "VOS-Endovis18/train/Annotations/seq_3/00001.png"
    buffer = io.BytesIO()
    Image.fromarray(np.ones((512, 640), np.uint8)).save(buffer, format="png")
    with pytest.raises(InputError, match=rf"expected frames and labels of 1280x1024, got 640x512 in .*{path}"):
        prepare(vos_endovis18(), {**vos_endovis18_files(), path: buffer.getvalue()}, tmp_path)


def test_frames_of_two_kinds_in_one_video_are_refused(tmp_path: Path) -> None:
    files = dict(vos_endovis17_files())
    folder = "VOS-Endovis17/VOS-Endovis17/train/JPEGImages/seq_2"
    files[f"{folder}/00001.png"] = files.pop(f"{folder}/00001.jpg")
    with pytest.raises(InputError, match=r"expected frames of one kind in train/seq_2, got \['.jpg', '.png'\]"):
        prepare(vos_endovis17(), files, tmp_path)
