"""Oracle tests run only when they are asked for: ``pytest -m oracle``."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "oracle" in config.getoption("markexpr"):
        return
    for item in items:
        if item.get_closest_marker("oracle"):
            item.add_marker(pytest.mark.skip(reason="compares with another library: run with -m oracle"))
