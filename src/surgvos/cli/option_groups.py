"""Options of one topic as one dataclass, so that a command with many takes a few groups."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, get_type_hints

from surgvos.errors import InputError


def with_option_groups(function: Callable[..., None]) -> Callable[..., None]:
    """Spread the dataclasses among a command's parameters, each field an option of its own.

    Fields are annotated as parameters of a command are. Parameters keep their order, fields that of their class.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}

    @functools.wraps(function)
    def spread(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        function(**values)

    parameters = list(_spread_parameters(function, hints))
    spread.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    spread.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return spread


def refuse(why: str, group: Any, *names: str) -> None:
    """Refuse options that would do nothing: those of a group, or only those named, that are not as by default.

    Raises:
        InputError: One was given; ``why`` says where it belongs.
    """
    for field in fields(group):
        is_meant = not names or field.name in names
        if is_meant and getattr(group, field.name) not in (_default_of(field), []):
            raise InputError(f"expected --{field.name.replace('_', '-')} only {why}; try without it, or --help")


def _spread_parameters(function: Callable[..., None], hints: dict[str, Any]) -> Iterator[inspect.Parameter]:
    for parameter in inspect.signature(function).parameters.values():
        group = hints[parameter.name]
        if not is_dataclass(group):
            yield parameter.replace(annotation=group, kind=inspect.Parameter.KEYWORD_ONLY)
            continue
        annotations = get_type_hints(group, include_extras=True)
        for field in fields(group):
            yield inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=_default_of(field),
                annotation=annotations[field.name],
            )


def _default_of(field: Field[Any]) -> Any:
    return inspect.Parameter.empty if field.default is MISSING else field.default
