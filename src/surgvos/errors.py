"""Errors that reach users: one clear sentence each, worded "expected ..., got ..., try ..."."""


class SurgvosError(Exception):
    """Root of every error that SurgVOS raises on purpose."""


class InputError(SurgvosError, ValueError):
    """A video, image, mask or prompt is not what was expected."""


class ConfigError(SurgvosError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class CheckpointError(SurgvosError, ValueError):
    """A weights file is missing, truncated or of another model."""


class MissingExtraError(SurgvosError, ImportError):
    """An optional dependency is needed and not installed."""


class TrainingError(SurgvosError, RuntimeError):
    """A training run cannot go on."""
