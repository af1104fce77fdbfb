"""Packages that only some users need, and what to say where one lacks."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from surgvos.errors import MissingExtraError


def import_extra(module: str, extra: str) -> Any:
    """Import a module of an optional package.

    Args:
        module: Its name, such as ``pycocotools.mask``.
        extra: The extra of SurgVOS that brings it.

    Raises:
        MissingExtraError: The package is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"expected the package {module.partition('.')[0]!r}, got none; try pip install 'surgvos[{extra}]'"
        ) from error
