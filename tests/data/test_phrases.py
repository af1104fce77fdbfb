"""Phrases: our format, what it is converted from, and sentences for what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from surgvos.cli.main import app
from surgvos.data.endovis_rs import Window, clean, parse_windows, to_phrases
from surgvos.data.phrases import (
    Phrase,
    from_meta_expressions,
    in_spans,
    parse_phrases,
    read_phrases,
    to_plain,
    write_phrases,
)
from surgvos.data.phrases_import import import_phrases
from surgvos.errors import InputError

frame_names = st.one_of(st.none(), st.integers(0, 99999).map("{:05d}".format))
texts = st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip()) and text.isprintable())
phrases = st.builds(
    Phrase, phrase=texts, object=st.one_of(st.none(), st.integers(1, 65535)), start=frame_names, stop=frame_names
)
books = st.dictionaries(texts, st.lists(phrases, max_size=4).map(tuple), max_size=3)


@given(book=books)
def test_phrases_survive_json(book: dict[str, tuple[Phrase, ...]]) -> None:
    assert parse_phrases(json.loads(json.dumps(to_plain(book))), "") == book


def test_the_file_is_what_the_page_says(tmp_path: Path) -> None:
    book = {
        "seq_1": (Phrase(phrase="the needle driver", object=1, start="00010"), Phrase(phrase="a stapler", object=None))
    }
    write_phrases(tmp_path / "phrases.json", book)
    assert json.loads((tmp_path / "phrases.json").read_text()) == {
        "videos": {
            "seq_1": {
                "expressions": [
                    {"phrase": "the needle driver", "object": 1, "start": "00010"},
                    {"phrase": "a stapler", "object": None},
                ]
            }
        }
    }
    assert read_phrases(tmp_path / "phrases.json") == book


def one(**item: Any) -> dict[str, Any]:
    return {"videos": {"v": {"expressions": [item]}}}


@pytest.mark.parametrize(
    ("plain", "sentence"),
    [
        ([], r"expected \{'videos'.*got a list without it in 'own.json'"),
        ({"videos": []}, r"expected \{'videos'"),
        ({"videos": {"v": {}}}, r"expected a list 'expressions' of video 'v', got nothing"),
        (one(phrase="x"), r"expected 'object', got none in expression 0 of video 'v'.*null for what is not there"),
        (one(object=1), r"expected a phrase, got None in expression 0 of video 'v'"),
        (one(phrase="  ", object=1), r"expected a phrase, got '  '"),
        (one(phrase="x", object=0), r"expected an object id in 1\.\.65535 or null, got 0"),
        (one(phrase="x", object="1"), r"expected an object id in 1\.\.65535 or null, got '1'"),
        (one(phrase="x", object=True), r"expected an object id in 1\.\.65535 or null, got True"),
        (one(phrase="x", object=1, start=3), r"expected the name of a frame as 'start', got 3 .*try '00017'"),
        (one(phrase="x", object=1, strat="0"), r"expected keys in .*, got 'strat' .*; try 'start'"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(plain: Any, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        parse_phrases(plain, "own.json")


def test_published_expressions_are_converted() -> None:
    plain = {
        "videos": {
            "seq_99": {
                "frames": ["00000", "00001"],
                "expressions": {"0": {"exp": "x is idle", "obj_id": "1"}, "1": {"exp": "x is left", "obj_id": "1"}},
                "first_frame": {"1": 0},
            }
        }
    }
    assert from_meta_expressions(plain, "") == {
        "seq_99": (Phrase(phrase="x is idle", object=1), Phrase(phrase="x is left", object=1))
    }


@pytest.mark.parametrize("item", [None, {}, {"exp": "x"}, {"exp": "x", "obj_id": "a"}, {"exp": "", "obj_id": "1"}])
def test_broken_published_expressions_are_refused(item: Any) -> None:
    with pytest.raises(InputError, match=r"expression 0 of video 'v'"):
        from_meta_expressions({"videos": {"v": {"expressions": {"0": item}}}}, "m.json")


@given(frames=st.sets(st.tuples(st.integers(0, 20), st.sampled_from(["a", "b"]), st.integers(1, 3))))
def test_spans_hold_exactly_the_frames_they_are_made_of(frames: set[tuple[int, str, int]]) -> None:
    spans = in_spans(frames)
    held = [
        (number, span.phrase, span.object)
        for span in spans
        for number in range(int(span.start or 0), int(span.stop or 0) + 1)
    ]
    assert len(held) == len(set(held))
    assert set(held) == frames
    touching = {(s.phrase, s.object, int(s.stop or 0) + 1) for s in spans} & {
        (s.phrase, s.object, int(s.start or 0)) for s in spans
    }
    assert not touching, "spans that touch are one"


def window(phrase: str, object_id: int, *frames: int, video: str = "seq_1", expression_id: str = "0") -> Window:
    return Window(video, frames or (0, 1, 2), phrase, object_id, expression_id)


def test_slips_are_corrected_and_each_is_reported_once() -> None:
    windows = [
        window("Bipolar forceps is  idle ", 1),
        window("Bipolar forceps is  idle ", 1, 3, 4, 5),
        window("clip applier is cliping tissue", 7, expression_id="1"),
        window("suction scissors is idle", 6, expression_id="2"),
    ]
    cleaned, changes = clean(windows)
    assert [item.phrase for item in cleaned] == [
        "bipolar forceps is idle",
        "bipolar forceps is idle",
        "clip applier is clipping tissue",
        "suction is idle",
    ]
    assert [change.reason for change in changes] == ["blanks", "capitals", "spelling", "name of the instrument"]
    assert str(changes[2]) == (
        "seq_1, expression 1: 'clip applier is cliping tissue' -> 'clip applier is clipping tissue' (spelling)"
    )


def test_an_id_that_contradicts_the_name_is_corrected_where_there_is_one_answer() -> None:
    windows = [
        window("prograsp forceps is idle", 2, *range(20)),
        window("monopolar curved scissors is idle", 4, *range(20)),
    ]
    cleaned, changes = clean([*windows, window("prograsp forceps is idle", 4, expression_id="9")])
    assert cleaned[-1].object_id == 2
    assert [change.after for change in changes] == ["prograsp forceps is idle [object 2]"]
    two = [*windows, window("prograsp forceps is idle", 1, *range(20))]
    cleaned, changes = clean([*two, window("prograsp forceps is idle", 4, expression_id="9")])
    assert cleaned[-1].object_id == 4
    assert changes[0].reason.startswith("doubtful")


def test_sound_windows_are_left_alone() -> None:
    windows = [window("vessel sealer is idle on the right", 6), window("the vessel sealer on the left is idle", 6)]
    assert clean(windows) == (windows, ())


@pytest.mark.parametrize(
    "entry",
    [
        ["seq_1", [], {"exp": "x", "obj_id": "1", "exp_id": "0"}],
        ["seq_1", ["seq_2_frame000"], {"exp": "x", "obj_id": "1", "exp_id": "0"}],
        ["seq_1", ["seq_1_frame000"], {"exp": "x", "obj_id": "1"}],
        ["seq_1", ["seq_1_frame000"], {"exp": "x", "obj_id": "left", "exp_id": "0"}],
        ["seq_1"],
    ],
)
def test_a_broken_window_is_named(entry: list[Any]) -> None:
    with pytest.raises(InputError, match=r"as entry 0 of 'rs.json', got"):
        parse_windows([entry], "rs.json")


def test_windows_become_phrases_with_their_frames() -> None:
    book = to_phrases([window("x", 1, 0, 1, 2), window("x", 1, 3, 4, 9)])
    assert book == {
        "seq_1": (
            Phrase(phrase="x", object=1, start="00000", stop="00004"),
            Phrase(phrase="x", object=1, start="00009", stop="00009"),
        )
    }


def test_the_command_converts_what_it_recognises(tmp_path: Path) -> None:
    entry = ["seq_1", ["seq_1_frame000", "seq_1_frame001"], {"exp": "Suction is idle", "obj_id": "6", "exp_id": "0"}]
    (tmp_path / "rs.json").write_text(json.dumps([entry]))
    (tmp_path / "meta.json").write_text(
        json.dumps({"videos": {"v": {"expressions": {"0": {"exp": "x", "obj_id": "1"}}}}})
    )
    (tmp_path / "own.json").write_text(json.dumps(one(phrase="x", object=None)))
    shown = {}
    for name in ("rs", "meta", "own"):
        out = tmp_path / f"{name}_out.json"
        result = CliRunner().invoke(app, ["data", "phrases", str(tmp_path / f"{name}.json"), "--out", str(out)])
        assert result.exit_code == 0, result.output
        shown[name] = result.output
        assert import_phrases(out) == (read_phrases(out), ())
    assert "changed: seq_1, expression 0: 'Suction is idle' -> 'suction is idle' (capitals)" in shown["rs"]
    assert "1 phrases of 1 videos" in shown["meta"]
    assert "1 of them for what is not there" in shown["own"]


@pytest.mark.parametrize("content", ["", "[]", "{}", "3", None])
def test_the_command_refuses_other_files_in_one_sentence(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_text(content)
    result = CliRunner().invoke(app, ["data", "phrases", str(path), "--out", str(tmp_path / "out.json")])
    assert result.exit_code == 2
    assert result.output.startswith("surgvos: expected ")
    assert not (tmp_path / "out.json").exists()
