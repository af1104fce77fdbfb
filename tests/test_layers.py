"""The rules of the house that can be read off the source: who imports whom, who prints, what is loaded when."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

import surgvos

PACKAGE = Path(surgvos.__file__).parent

LAYERS = (
    {"errors"},
    {"core", "config.load"},
    {"io", "models", "memory", "weights"},
    {"referring"},
    {"tracking"},
    {"overseer"},
    {"data", "evaluation", "training", "export"},
    {"live"},
    {"batch", "server", "config.presets", "config.nano_recipes", "config.overseer_recipes"},
    {"cli"},
    {"__main__"},
)
"""From the vocabulary to the command line. A part imports from layers before its own, never from the same one."""

NEIGHBOURS = {
    ("training", "data"),
    ("export", "data"),
    ("config.presets", "config.nano_recipes"),
    ("config.presets", "config.overseer_recipes"),
}
"""(importer, imported) of one layer, where that is meant."""

NARROW = {"data.synthetic": {"core", "errors", "data.synthetic"}}
"""Parts that import less than their layer may."""

HEAVY = {
    "accelerate",
    "av",
    "defusedxml",
    "highdicom",
    "huggingface_hub",
    "matplotlib",
    "nibabel",
    "pycocotools",
    "pydicom",
    "ray",
    "tensorboard",
    "torchvision",
    "transformers",
}
"""Third-party packages that are imported inside the function that needs them."""

MODULES = sorted(PACKAGE.rglob("*.py"))


@dataclass(frozen=True)
class Import:
    """One import of one module, with dots left out where they say "surgvos"."""

    importer: str
    imported: str
    line: int
    at_top: bool


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    """``tracking/session.py`` -> ``tracking.session``; the package itself is ``""``."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> Iterator[Import]:
    tree = tree_of(path)
    top = set(map(id, tree.body))
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: expected an absolute import"
            # ``from surgvos.core import masks`` may name a module: what follows the package is kept.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            yield Import(name_of(path), name, node.lineno, id(node) in top)


def own_imports(path: Path) -> Iterator[Import]:
    for found in imports_of(path):
        root, _, rest = found.imported.partition(".")
        if root == "surgvos":
            yield Import(found.importer, rest, found.line, found.at_top)


def part_of(module: str) -> str:
    """The part of the house that a module lies in: the longest name in `LAYERS` that begins it."""
    parts = module.split(".")
    for length in (2, 1):
        name = ".".join(parts[:length])
        if any(name in layer for layer in LAYERS):
            return name
    raise AssertionError(f"{module!r} lies in no layer: add it to LAYERS")


def rank_of(part: str) -> int:
    return next(rank for rank, layer in enumerate(LAYERS) if part in layer)


def may_import(importer: str, imported: str) -> bool:
    return importer == imported or (importer, imported) in NEIGHBOURS or rank_of(imported) < rank_of(importer)


def modules_outside(*parts: str) -> list[Path]:
    return [path for path in MODULES if not any(f"{name_of(path)}.".startswith(f"{part}.") for part in parts)]


def calls_of(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))


def docstrings_of(path: Path) -> set[int]:
    """Ids of the constants that are statements of their own: documentation."""
    return {id(node.value) for node in ast.walk(tree_of(path)) if isinstance(node, ast.Expr)}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_only_from_lower_layers(path: Path) -> None:
    for found in own_imports(path):
        where = f"{path.relative_to(PACKAGE)}:{found.line} imports surgvos.{found.imported}"
        if found.importer == "":
            continue  # the package's own __init__ gathers the public names
        if found.imported.startswith("__"):
            assert part_of(found.importer) == "cli", f"{where}: only cli asks the package for its version"
            continue
        assert may_import(part_of(found.importer), part_of(found.imported)), where


@pytest.mark.parametrize("part", NARROW)
def test_narrow_parts_import_no_more_than_they_promise(part: str) -> None:
    modules = [path for path in MODULES if f"{name_of(path)}.".startswith(f"{part}.")]
    assert modules, f"{part} has moved"
    for path in modules:
        for found in own_imports(path):
            allowed = any(f"{found.imported}.".startswith(f"{name}.") for name in NARROW[part])
            assert allowed, f"{path.relative_to(PACKAGE)}:{found.line} imports surgvos.{found.imported}"


def test_the_order_of_layers_is_what_the_house_was_built_for() -> None:
    assert not may_import("models", "tracking")
    assert not may_import("memory", "models")
    assert not may_import("core", "io")
    assert not may_import("data", "training")
    assert may_import("tracking", "memory")


def test_only_cli_prints() -> None:
    for path in modules_outside("cli"):
        for call in calls_of(path):
            name = call.func.id if isinstance(call.func, ast.Name) else ""
            assert name != "print", f"{path.relative_to(PACKAGE)}:{call.lineno} prints"


def test_no_device_is_named_outside_cli() -> None:
    for path in modules_outside("cli", "models.devices"):
        documentation = docstrings_of(path)
        for node in ast.walk(tree_of(path)):
            where = f"{path.relative_to(PACKAGE)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Attribute):
                assert node.attr != "cuda", f"{where} names cuda"
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                assert "cuda" not in node.value.lower(), f"{where} names cuda"


def test_uploads_go_through_one_place() -> None:
    """Which knows on what devices a copy that is not waited for is safe."""
    for path in modules_outside("models.devices"):
        for call in calls_of(path):
            names = [keyword.arg for keyword in call.keywords]
            assert "non_blocking" not in names, f"{path.relative_to(PACKAGE)}:{call.lineno}; see models.devices.upload"


def test_no_file_or_function_is_named_after_nothing() -> None:
    for path in MODULES:
        assert path.stem not in {"utils", "util", "misc", "common"}, path
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                assert node.name.strip("_").lower() not in {"utils", "util", "helper", "tmp"}, (
                    f"{path.relative_to(PACKAGE)}:{node.lineno} is named {node.name}"
                )


def test_heavy_packages_are_imported_where_they_are_needed() -> None:
    for path in MODULES:
        for found in imports_of(path):
            is_heavy = found.imported.split(".")[0] in HEAVY
            assert not (is_heavy and found.at_top), (
                f"{path.relative_to(PACKAGE)}:{found.line} imports {found.imported} at the top"
            )


def test_importing_the_package_loads_nothing_heavy() -> None:
    unwanted = sorted(HEAVY | {"cv2", "rich", "typer"})
    program = f"import sys, surgvos; print(*[name for name in {unwanted} if name in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert loaded.stdout.split() == []
