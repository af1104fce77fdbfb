"""The model in the box."""

from surgvos.models.nano.config import NanoConfig
from surgvos.models.nano.model import NanoModel
from surgvos.models.nano.referring import ReferringNano, ReferringNanoConfig

__all__ = ["NanoConfig", "NanoModel", "ReferringNano", "ReferringNanoConfig"]
