"""Plain data from files and command lines -> frozen dataclasses, strictly; and back.

Where a field may hold one of several dataclasses, the data names it with the key ``kind``: the class's name in
snake case, without "Config" (``kind: nano`` for ``NanoConfig``).
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml

from surgvos.errors import ConfigError

KIND = "kind"

T = TypeVar("T")


def load_file(config_class: type[T], path: str | Path) -> T:
    """Read a YAML or JSON file into a configuration.

    Raises:
        ConfigError: The file cannot be read, or does not describe this configuration.
    """
    return from_plain(config_class, read_file(path))


def read_file(path: str | Path) -> dict[str, Any]:
    """Read a YAML or JSON file that holds a mapping.

    Raises:
        ConfigError: It cannot be read, or holds something else.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"expected a YAML or JSON file at {path}, got: {reason}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"expected names and values in {path}, got {_describe(content)}")
    return content


def from_plain(config_class: type[T], plain: Any) -> T:
    """Build a configuration from plain data.

    Args:
        config_class: A dataclass.
        plain: Mappings, lists, strings, numbers, booleans and None.

    Raises:
        ConfigError: A name is unknown or missing, or a value is of the wrong type or out of range. The message
            says where, and which known name is nearest.
    """
    value: T = _convert(config_class, plain, "")
    return value


def to_plain(config: Any) -> Any:
    """Turn a configuration into plain data that `from_plain` turns back into it."""
    if is_dataclass(config):
        config_class: Any = type(config)
        hints = _hints(config_class)
        return {f.name: _field_to_plain(getattr(config, f.name), hints[f.name]) for f in fields(config)}
    if isinstance(config, tuple | list):
        return [to_plain(item) for item in config]
    if isinstance(config, Mapping):
        return {key: to_plain(value) for key, value in config.items()}
    return config


def apply_overrides(config: T, assignments: Iterable[str]) -> T:
    """Change fields by assignments such as ``"optimiser.learning_rate=1e-4"`` or ``"stages.0.steps=100"``.

    The value is read as YAML. Assigning a ``kind`` starts that part afresh with its defaults; an assignment to a
    part that is None starts it with its defaults too.

    Raises:
        ConfigError: An assignment is not of this form, or names or values do not fit.
    """
    plain = to_plain(config)
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator or not path.strip():
            raise ConfigError(f"expected name.name=value, got {assignment!r}")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError:
            raise ConfigError(f"expected a value after = in {assignment!r}, got {text!r}") from None
        _assign(plain, path.strip().split("."), value, assignment)
    return from_plain(type(config), plain)


def kind_of(config_class: Any) -> str:
    """The name by which data chooses this class: ``VosFolderConfig`` -> ``vos_folder``."""
    name = config_class.__name__.removesuffix("Config")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _assign(plain: Any, keys: list[str], value: Any, assignment: str) -> None:
    for depth, key in enumerate(keys[:-1]):
        child = _child(plain, key, ".".join(keys[: depth + 1]))
        if child is None:
            child = plain[key] = {}
        plain = child
    last = keys[-1]
    if isinstance(plain, list):
        plain[_position(plain, last, assignment)] = value
    elif not isinstance(plain, dict):
        raise ConfigError(f"expected a part with fields before .{last} in {assignment!r}, got {_describe(plain)}")
    elif last == KIND and plain.get(KIND) != value:
        plain.clear()
        plain[KIND] = value
    else:
        plain[last] = value


def _child(plain: Any, key: str, path: str) -> Any:
    if isinstance(plain, list):
        return plain[_position(plain, key, path)]
    if not isinstance(plain, dict):
        raise ConfigError(f"expected a part with fields before {path!r}, got {_describe(plain)}")
    if key not in plain:
        raise ConfigError(f"expected a known name at {path!r}, got {key!r}{_nearest(key, plain)}")
    return plain[key]


def _position(items: list[Any], key: str, path: str) -> int:
    if not key.isdecimal() or int(key) >= len(items):
        raise ConfigError(f"expected a position in 0..{len(items) - 1} at {path!r}, got {key!r}")
    return int(key)


def _convert(expected: Any, plain: Any, path: str) -> Any:
    origin = get_origin(expected)
    if expected is Any:
        return plain
    if is_dataclass(expected):
        return _build(expected, plain, path)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(expected), plain, path)
    if origin is Literal:
        if not any(plain == choice and type(plain) is type(choice) for choice in get_args(expected)):
            raise _wrong(path, f"one of {', '.join(map(repr, get_args(expected)))}", plain)
        return plain
    if origin is tuple:
        return _convert_tuple(get_args(expected), plain, path)
    if origin is dict or origin is Mapping:
        if not isinstance(plain, Mapping):
            raise _wrong(path, "names and values", plain)
        value_type = get_args(expected)[1]
        return {key: _convert(value_type, value, _join(path, str(key))) for key, value in plain.items()}
    return _convert_scalar(expected, plain, path)


def _convert_scalar(expected: type, plain: Any, path: str) -> Any:
    if expected is float:
        return _convert_float(plain, path)
    if expected is Path:
        if not isinstance(plain, str):
            raise _wrong(path, "a path", plain)
        return Path(plain)
    names = {int: "a whole number", bool: "true or false", str: "a text", types.NoneType: "nothing"}
    assert expected in names, f"no rule for the type {expected} at {path}"
    # A bool is an int to Python, but not to a reader of a file.
    if not isinstance(plain, expected) or (expected is int and isinstance(plain, bool)):
        raise _wrong(path, names[expected], plain)
    return plain


def _convert_float(plain: Any, path: str) -> float:
    if isinstance(plain, bool) or not isinstance(plain, int | float | str):
        raise _wrong(path, "a number", plain)
    try:
        # YAML 1.1 reads 1e-4 as a text.
        return float(plain)
    except ValueError:
        raise _wrong(path, "a number", plain) from None


def _convert_tuple(arguments: Sequence[Any], plain: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(plain, list | tuple):
        raise _wrong(path, "a list", plain)
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        arguments = [arguments[0]] * len(plain)
    if len(arguments) != len(plain):
        raise _wrong(path, f"a list of {len(arguments)}", plain)
    return tuple(
        _convert(argument, item, _join(path, str(i)))
        for i, (argument, item) in enumerate(zip(arguments, plain, strict=True))
    )


def _convert_union(choices: Sequence[Any], plain: Any, path: str) -> Any:
    if plain is None and types.NoneType in choices:
        return None
    others = [choice for choice in choices if choice is not types.NoneType]
    if len(others) == 1:
        return _convert(others[0], plain, path)
    classes = {kind_of(choice): choice for choice in others if is_dataclass(choice)}
    if classes and isinstance(plain, Mapping):
        kind = plain.get(KIND)
        if kind not in classes:
            raise ConfigError(
                f"expected {_join(path, KIND)} to be one of {', '.join(classes)}, got {_describe(kind)}"
                f"; try {difflib.get_close_matches(str(kind), classes, n=1, cutoff=0.0)[0]!r}"
            )
        return _build(classes[kind], {k: v for k, v in plain.items() if k != KIND}, path)
    scalars = [choice for choice in others if not is_dataclass(choice)]
    for choice in scalars:
        try:
            return _convert(choice, plain, path)
        except ConfigError:
            continue
    raise _wrong(path, " or ".join([*classes, *(getattr(c, "__name__", str(c)) for c in scalars)]), plain)


def _build(config_class: Any, plain: Any, path: str) -> Any:
    if not isinstance(plain, Mapping):
        raise _wrong(path, f"the fields of {config_class.__name__}", plain)
    hints = _hints(config_class)
    known = [f.name for f in fields(config_class) if f.init]
    for key in plain:
        if key not in known:
            raise ConfigError(f"expected a known name at {_join(path, str(key))!r}{_nearest(str(key), known)}")
    missing = [f.name for f in fields(config_class) if f.init and f.name not in plain and _is_required(f)]
    if missing:
        raise ConfigError(f"expected a value at {_join(path, missing[0])!r}, got none")
    values = {key: _convert(hints[key], value, _join(path, key)) for key, value in plain.items()}
    try:
        return config_class(**values)
    except ConfigError as error:
        raise ConfigError(f"{error} (in {path})" if path else str(error)) from None


def _field_to_plain(value: Any, hint: Any) -> Any:
    plain = to_plain(value)
    if is_dataclass(value) and _is_choice(hint):
        return {KIND: kind_of(type(value)), **plain}
    if isinstance(value, Path):
        return str(value)
    return plain


def _is_choice(hint: Any) -> bool:
    """Whether a field may hold more than one kind of dataclass."""
    return sum(bool(is_dataclass(choice)) for choice in get_args(hint)) > 1


def _is_required(item: Field[Any]) -> bool:
    return item.default is MISSING and item.default_factory is MISSING


@cache
def _hints(config_class: Any) -> dict[str, Any]:
    return get_type_hints(config_class)


def _join(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _nearest(key: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f"; try {close[0]!r}" if close else f"; known are {', '.join(known)}"


def _wrong(path: str, expected: str, plain: Any) -> ConfigError:
    where = f" at {path!r}" if path else ""
    return ConfigError(f"expected {expected}{where}, got {_describe(plain)}")


def _describe(plain: Any) -> str:
    if plain is None:
        return "nothing"
    text = repr(plain)
    return text if len(text) <= 60 else text[:57] + "..."
