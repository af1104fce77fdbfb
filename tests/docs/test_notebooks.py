"""The notebooks run from the first cell to the last, with nothing but what is in the box."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))
PICTURE = re.compile(r"!\[[^]]*\]\(data:image/jpeg;base64,[^)]*\)")


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    """What makes pages of them."""
    spec = importlib.util.spec_from_file_location("mkdocs_hooks", ROOT / "mkdocs_hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("name", "num_pictures", "printed"), [
    ("follow", 3, r"frame 15  present [01]\.\d\d"),
    ("correct", 2, r"16 images, 16 annotations"),
    ("memory", 0, r"sure +\d+\.\d +\d+\.\d +\d+\.\d +\d+\.\d"),
])  # fmt: skip
def test_a_notebook_runs(hooks: ModuleType, name: str, num_pictures: int, printed: str) -> None:
    page = "\n".join(hooks.notebook_page(ROOT / f"docs/notebooks/{name}.ipynb"))
    assert len(PICTURE.findall(page)) == num_pictures
    shown = "".join(re.findall(r"```text\n(.*?)```", page, re.DOTALL))
    assert re.search(printed, shown), shown


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_output(path: Path) -> None:
    book = json.loads(path.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert [(cell["outputs"], cell["execution_count"]) for cell in code] == [([], None)] * len(code)
    assert len({cell["id"] for cell in book["cells"]}) == len(book["cells"])
