"""`import surgvos` is fast, and gives the names that are promised, no more."""

from __future__ import annotations

import subprocess
import sys
import typing

import pytest

import surgvos

PROMISED = {
    "BoxPrompt",
    "CheckpointError",
    "ConfigError",
    "CredibleStart",
    "Diverse",
    "Frame",
    "FrameResult",
    "InputError",
    "MaskPrompt",
    "MissingExtraError",
    "ObjectResult",
    "Phase",
    "PointPrompt",
    "Pruned",
    "Recent",
    "SearchOptions",
    "Session",
    "SessionOptions",
    "SurgvosError",
    "TextPrompt",
    "__version__",
    "load_model",
    "open_video",
}


def test_the_public_names_are_frozen() -> None:
    assert set(surgvos.__all__) == PROMISED
    assert len(PROMISED) <= 25


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(surgvos, name)
    assert name in dir(surgvos)
    if name != "__version__":
        assert value.__doc__
        assert value.__name__ == name


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Sesion'"):
        _ = surgvos.Sesion


def test_importing_brings_in_no_heavy_library() -> None:
    code = "import sys, surgvos; print({'torch', 'numpy', 'cv2', 'av', 'transformers', 'PIL'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


def test_type_checkers_see_the_same_names() -> None:
    source = typing.cast(str, surgvos.__loader__.get_source("surgvos"))  # type: ignore[union-attr]
    checked = source.partition("if TYPE_CHECKING:")[2].partition("\n# ")[0]
    assert all(name in checked for name in PROMISED)
