"""SurgVOS: segment and track anything in surgical video.

Example:
    >>> import surgvos
    >>> model = surgvos.load_model("surgvos-nano")  # doctest: +SKIP
    >>> session = surgvos.Session(model)  # doctest: +SKIP
    >>> session.add_prompt(0, 1, surgvos.PointPrompt([[320, 240]]))  # doctest: +SKIP
    >>> for result in session.propagate(surgvos.open_video("case.mp4")):  # doctest: +SKIP
    ...     print(result.frame_index, result.masks[1].sum())
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from surgvos.core.frame import Frame
    from surgvos.core.prompts import BoxPrompt, MaskPrompt, PointPrompt, TextPrompt
    from surgvos.core.results import FrameResult, ObjectResult, Phase
    from surgvos.errors import CheckpointError, ConfigError, InputError, MissingExtraError, SurgvosError
    from surgvos.io.video import open_video
    from surgvos.memory.diversity import Diverse
    from surgvos.memory.pruning import Pruned
    from surgvos.memory.recency import Recent
    from surgvos.models.registry import load_model
    from surgvos.referring.start import CredibleStart
    from surgvos.tracking.answering import SessionOptions
    from surgvos.tracking.searching import SearchOptions
    from surgvos.tracking.session import Session

    __version__: str

# A name is imported when it is first asked for: `import surgvos` stays fast.
_MODULES = {
    "BoxPrompt": "core.prompts",
    "CheckpointError": "errors",
    "ConfigError": "errors",
    "CredibleStart": "referring.start",
    "Diverse": "memory.diversity",
    "Frame": "core.frame",
    "FrameResult": "core.results",
    "InputError": "errors",
    "MaskPrompt": "core.prompts",
    "MissingExtraError": "errors",
    "ObjectResult": "core.results",
    "Phase": "core.results",
    "PointPrompt": "core.prompts",
    "Pruned": "memory.pruning",
    "Recent": "memory.recency",
    "SearchOptions": "tracking.searching",
    "Session": "tracking.session",
    "SessionOptions": "tracking.answering",
    "SurgvosError": "errors",
    "TextPrompt": "core.prompts",
    "load_model": "models.registry",
    "open_video": "io.video",
}

__all__ = [
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
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("surgvos")
    elif name in _MODULES:
        value = getattr(import_module(f"surgvos.{_MODULES[name]}"), name)
    else:
        raise AttributeError(f"module 'surgvos' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
