"""What is remembered: entries, banks and policies."""

from collections.abc import Callable

from surgvos.errors import ConfigError
from surgvos.memory.bank import MemoryBank
from surgvos.memory.diversity import Diverse
from surgvos.memory.entry import MemoryEntry, MemoryQuery, MemorySelection
from surgvos.memory.policy import JointPolicy, MemoryPolicy
from surgvos.memory.pruning import Pruned
from surgvos.memory.recency import Recent

POLICIES: dict[str, Callable[..., MemoryPolicy]] = {
    "recent": Recent,
    "pruned": Pruned.reading,
    "diverse": Diverse.reading,
}
"""Name on the command line -> policy with its default settings, but for ``num_recent``. A new policy is one file and
one line here."""


def policy_by_name(name: str, num_recent: int) -> MemoryPolicy:
    """The policy of this name, reading as many recent frames as the model is used to.

    Raises:
        ConfigError: No policy has this name.
    """
    if name not in POLICIES:
        raise ConfigError(f"expected a memory policy of {sorted(POLICIES)}, got {name!r}")
    return POLICIES[name](num_recent=num_recent)


__all__ = [
    "POLICIES",
    "Diverse",
    "JointPolicy",
    "MemoryBank",
    "MemoryEntry",
    "MemoryPolicy",
    "MemoryQuery",
    "MemorySelection",
    "Pruned",
    "Recent",
    "policy_by_name",
]
