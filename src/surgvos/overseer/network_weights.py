"""Weights of third-party networks: the same parameter under the names of several versions, loaded strictly."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from surgvos.errors import CheckpointError

State = Mapping[str, Tensor]
Renaming = tuple[str, str]

NO_NAME = r"(?!)"
"""Matches nothing."""


def renamer(renamings: Sequence[Renaming]) -> Callable[[str], str]:
    """A function that applies regular expressions to a name, one after the other."""
    compiled = [(re.compile(pattern), replacement) for pattern, replacement in renamings]

    def rename(key: str) -> str:
        for pattern, replacement in compiled:
            key = pattern.sub(replacement, key)
        return key

    return rename


def load_strictly(
    network: nn.Module,
    state: State,
    kind: str,
    *,
    rename: Callable[[str], str] = str,
    optional: str = NO_NAME,
) -> None:
    """Load weights into a network, whichever version's names either of the two uses.

    Args:
        network: Where to.
        state: What.
        kind: Of network, for messages.
        rename: Turns the names of any version into those of one; applied to both sides.
        optional: Matches names (as renamed) of what may be missing on either side: it does not change the answer.

    Raises:
        CheckpointError: Names or shapes differ.
    """
    own = {rename(key): key for key in network.state_dict()}
    given = {rename(key): value for key, value in state.items()}
    assert len(own) == len(network.state_dict())
    is_optional = re.compile(optional).search
    expected = network.state_dict()
    missing = [key for key in own if key not in given and not is_optional(key)]
    unexpected = [key for key in given if key not in own and not is_optional(key)]
    misshapen = [key for key in own if key in given and given[key].shape != expected[own[key]].shape]
    differences = describe_names({"missing": missing, "unexpected": unexpected, "of another shape": misshapen})
    if differences or len(given) != len(state):
        what = differences or "names of two versions at once"
        raise CheckpointError(f"expected the weights of a {kind}, got some with {what}; try a checkpoint as published")
    network.load_state_dict({own[key]: given[key] for key in own if key in given}, strict=False)


def describe_names(names: Mapping[str, Sequence[str]]) -> str:
    """Names of weights by what is wrong with them, in a few words; empty where nothing is."""
    return " and ".join(f"{len(found)} {what} (first: {found[0]})" for what, found in names.items() if found)


def count_parts(state: State, pattern: str) -> int:
    """How many different numbers stand at the group of a pattern in the names of weights."""
    found = (re.search(pattern, key) for key in state)
    return len({match[1] for match in found if match})


def rows_of(state: State, key: str, kind: str) -> int:
    """Length of the first dimension of a weight.

    Raises:
        CheckpointError: There is no such weight.
    """
    return shape_of(state, key, kind)[0]


def shape_of(state: State, key: str, kind: str) -> torch.Size:
    """Shape of a weight.

    Raises:
        CheckpointError: There is no such weight.
    """
    if key not in state:
        raise CheckpointError(
            f"expected the weights of a {kind}, got some without {key}; try a checkpoint as published"
        )
    return state[key].shape
