"""Ref-EndoVis: sentences as the authors make them, corrections, and one format for all phrases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dataset_miniatures import (
    Files,
    ref_endovis17,
    ref_endovis17_files,
    ref_endovis18,
    ref_endovis18_files,
    write_folder,
)
from surgvos.cli.main import app
from surgvos.data.dataset import DataSet, PrepareOptions
from surgvos.data.dataset_check import check_dataset
from surgvos.data.phrases import Phrase, read_phrases, write_phrases
from surgvos.data.ref_endovis import Doing, RefEndoVis17, RefEndoVis18, parse_meta, phrase_of
from surgvos.errors import InputError


def prepare(
    dataset: DataSet, files: Files, tmp_path: Path, options: PrepareOptions | None = None
) -> tuple[Path, tuple[str, ...]]:
    done = dataset.prepare([write_folder(tmp_path / "source", files)], tmp_path / "out", options)
    return tmp_path / "out", done.notes


@pytest.mark.parametrize(
    ("category", "doing", "locate", "phrase"),
    [
        ("large needle driver", Doing(4, 6, True), True, "large needle driver is suturing tissue"),
        ("large needle driver", Doing(4, 6, False), True, "large needle driver is suturing tissue on the right"),
        ("large needle driver", Doing(4, 6, False), False, "large needle driver is suturing tissue"),
        ("bipolar forceps", Doing(1, 1, False), True, "bipolar forceps are idle on the bottom left"),
        (
            "monopolar curved scissors",
            Doing(13, 9, False),
            True,
            "monopolar curved scissors are cauterizing tissue on the top right",
        ),
        ("kidney-parenchyma", Doing(0, 0, False), False, "kidney-parenchyma"),
    ],
)
def test_sentences_are_those_of_the_authors(category: str, doing: Doing, locate: bool, phrase: str) -> None:
    assert phrase_of(category, doing, locate=locate) == phrase


def test_training_phrases_have_the_frames_in_which_they_are_true(tmp_path: Path) -> None:
    out, _ = prepare(ref_endovis17(), ref_endovis17_files(), tmp_path)
    assert read_phrases(out / "train/phrases.json")["seq_9"] == (
        Phrase(phrase="bipolar forceps are idle", object=2, start="00000", stop="00001"),
        Phrase(phrase="bipolar forceps are manipulating tissue", object=2, start="00002", stop="00002"),
        Phrase(phrase="prograsp forceps are grasping tissue on the right", object=4, start="00000", stop="00000"),
        Phrase(phrase="prograsp forceps are grasping tissue on the right", object=4, start="00002", stop="00002"),
    )


def test_validation_phrases_are_those_that_were_published(tmp_path: Path) -> None:
    files = ref_endovis18_files()
    out, _ = prepare(ref_endovis18(), files, tmp_path)
    assert read_phrases(out / "valid/phrases.json")["seq_5"] == (
        Phrase(phrase="bipolar forceps is idle", object=1),
        Phrase(phrase="bipolar forceps is grasping tissue", object=1),
        Phrase(phrase="covered-kidney", object=12),
    )
    published = files["Ref-Endovis18/valid/meta_expressions.json"]
    assert (out / "valid/meta_expressions.json").read_bytes() == published


def test_training_and_test_parts_are_joined(tmp_path: Path) -> None:
    out, _ = prepare(ref_endovis17(), ref_endovis17_files(), tmp_path)
    names = sorted(path.name for path in (out / "valid/JPEGImages/seq_2").iterdir())
    assert names == ["00223.png", "00224.png", "00225.png", "00226.png"]


CASES = [
    (ref_endovis17, ref_endovis17_files, "seq_9", {"2": "bipolar forceps", "4": "prograsp forceps"}),
    (
        ref_endovis18,
        ref_endovis18_files,
        "seq_13",
        {"2": "prograsp forceps", "3": "large needle driver", "11": "kidney-parenchyma"},
    ),
]


@pytest.mark.parametrize(("make", "files", "video", "corrected"), CASES)
def test_published_slips_are_corrected_and_reported(
    make: Any, files: Any, video: str, corrected: dict[str, str], tmp_path: Path
) -> None:
    out, notes = prepare(make(), files(), tmp_path)
    meta = json.loads((out / f"train/Meta/{video}.json").read_text())
    assert meta["info"]["category"] == corrected
    listing = json.loads((out / "train/objects.json").read_text())
    assert {str(item["id"]): item["category"] for item in listing[video]} == corrected
    assert len([note for note in notes if note.startswith(f"train/{video}: object") and "(corrected)" in note]) == 2


@pytest.mark.parametrize(("make", "files", "video", "corrected"), CASES)
def test_corrections_can_be_left_out_and_are_made_once(
    make: Any, files: Any, video: str, corrected: dict[str, str], tmp_path: Path
) -> None:
    name = next(key for key in files() if key.endswith(f"train/Meta/{video}.json"))
    out, notes = prepare(make(), files(), tmp_path / "as_published", PrepareOptions(corrections=False))
    assert (out / f"train/Meta/{video}.json").read_bytes() == files()[name]
    assert not notes
    plain = json.loads(files()[name])
    plain["info"]["category"] = corrected
    _, notes = prepare(make(), {**files(), name: json.dumps(plain).encode()}, tmp_path / "already_corrected")
    assert not notes


def test_phrases_for_what_is_not_there_are_faults(tmp_path: Path) -> None:
    out, _ = prepare(ref_endovis18(), ref_endovis18_files(), tmp_path)
    phrases = (
        Phrase(phrase="a stapler", object=None),
        Phrase(phrase="a thread", object=9, start="00001"),
        Phrase(phrase="bipolar forceps", object=1, start="00007"),
    )
    write_phrases(out / "valid/phrases.json", {"seq_5": phrases, "seq_6": ()})
    assert check_dataset(ref_endovis18(), out)[1] == [
        "valid/seq_5: expected a mask of object 9, named 'a thread', got none",
        "valid/seq_5: expected the frame 00007 of 'bipolar forceps', got none",
        "valid/seq_6: expected the video of the phrases in phrases.json, got none",
    ]
    (out / "valid/phrases.json").write_text("[]")
    result = CliRunner().invoke(app, ["data", "check", str(out / "valid")])
    assert result.exit_code == 1
    assert "fault: expected {'videos'" in result.output


def test_missing_phrases_are_a_gap(tmp_path: Path) -> None:
    files = dict(ref_endovis18_files())
    del files["Ref-Endovis18/train/Meta/seq_13.json"]
    with pytest.raises(InputError, match=r"expected phrases of seq_13 in train.*huggingface.*Ref-Endovis18\.zip"):
        prepare(ref_endovis18(), files, tmp_path)


META = {"info": {"category": {"1": "x"}}, "frames": {"00000": {"1": {"action": 1, "location": 2, "unique": False}}}}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"action": 14}, r"expected an action in 0\.\.13, got 14 in 'seq_1\.json'"),
        ({"location": 0}, r"expected a location in 1\.\.9, got 0 in 'seq_1\.json'"),
        ({"action": "idle"}, r"expected \{'info'.*got 'seq_1\.json' \(ValueError"),
    ],
)
def test_a_description_without_a_meaning_is_refused(change: dict[str, Any], sentence: str) -> None:
    plain = json.loads(json.dumps(META))
    plain["frames"]["00000"]["1"].update(change)
    with pytest.raises(InputError, match=sentence):
        parse_meta(plain, "seq_1.json", locate=True)


@pytest.mark.parametrize("plain", [[], {}, {"info": {}}, {**META, "info": {"category": {"2": "x"}}}])
def test_a_description_of_another_shape_is_refused(plain: Any) -> None:
    with pytest.raises(InputError, match=r"expected .* got .*'seq_1\.json'"):
        parse_meta(plain, "seq_1.json", locate=False)


def test_the_splits_are_those_of_the_authors() -> None:
    assert RefEndoVis17().splits == {
        "train": ("seq_1", "seq_3", "seq_4", "seq_7", "seq_8", "seq_9", "seq_10"),
        "valid": ("seq_2", "seq_5", "seq_6"),
    }
    assert {len(part.frames) for part in RefEndoVis17().parts} == {300}
    assert RefEndoVis18().splits["valid"] == ("seq_2", "seq_5", "seq_9", "seq_15")
    sizes = [sum(len(part.videos) * len(part.frames) for part in kind().parts) for kind in (RefEndoVis17, RefEndoVis18)]
    assert sizes == [2100 + 900, 1639 + 596]
