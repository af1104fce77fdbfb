"""The model in the box."""

from surgvos.models.nano.config import NanoConfig
from surgvos.models.nano.model import NanoModel

__all__ = ["NanoConfig", "NanoModel"]
