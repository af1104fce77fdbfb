"""ReSurgSAM2: SAM 2 that also finds what a phrase says."""

from surgvos.models.resurg.config import ResurgConfig, resurg_small
from surgvos.models.resurg.model import ResurgModel

__all__ = ["ResurgConfig", "ResurgModel", "resurg_small"]
