"""SAM 2: the video model of Ravi et al., 2024, in four sizes."""

from surgvos.models.sam2.config import Sam2Config, base_plus, large, small, tiny
from surgvos.models.sam2.model import Sam2Model

__all__ = ["Sam2Config", "Sam2Model", "base_plus", "large", "small", "tiny"]
