"""The rules that there are, by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable

from surgvos.errors import ConfigError
from surgvos.overseer.corrections import AnyOverseer
from surgvos.overseer.first_frame import FirstFrame
from surgvos.overseer.sasvi import Sasvi

RULES: dict[str, Callable[[], AnyOverseer]] = {
    "sasvi": Sasvi,
    "sasvi-published": Sasvi.published,
    "sasvi-published-cadis": lambda: Sasvi.published(fill_size_px=299),
    "first-frame": FirstFrame,
}
"""Name -> rules with their default settings."""


def rules_by_name(name: str) -> AnyOverseer:
    """Find rules.

    Raises:
        ConfigError: There are none of that name.
    """
    if name not in RULES:
        nearest = difflib.get_close_matches(name, RULES, n=1, cutoff=0.0)[0]
        raise ConfigError(f"expected rules, one of {', '.join(RULES)}, got {name!r}; try {nearest!r}")
    return RULES[name]()
