"""What a synthetic clip may contain."""

from __future__ import annotations

from dataclasses import dataclass, fields

from surgvos.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class SceneConfig:
    """Ranges and probabilities from which each clip draws. Speeds are pixels per frame at 192 rows.

    Attributes:
        image_hw: Size of the frames.
        num_frames: Length of a clip.
        num_instruments: Fewest and most instruments in a surgical clip.
        num_anatomy: Fewest and most labelled organs and vessels in a surgical clip.
        num_shapes: Fewest and most bodies in an abstract clip.
        surgical_share: Share of clips that look surgical; the others are domain randomisation.
        object_speed_px: Slowest and fastest typical speed of an object; drawn evenly in the logarithm.
        camera_speed_px: The same for the camera.
        camera_motion: Probability that the camera moves at all.
        camera_jerk: Probability that it jumps once.
        reentry: Probability that an object leaves the image whole and comes back.
        late_entry: Probability that an object is absent at first.
        exit: Probability that an object leaves for good.
        insertion: Probability that a tool shows only its tip at first and the shaft follows.
        twins: Probability that the next tool is a copy of the last one, or that shapes share a texture.
        strand: Probability of a needle or thread in a surgical clip.
        occluder: Probability of an unlabelled piece of tissue in front of everything.
        tissue_tint: Probability that an instrument nears the colour of tissue or blood.
        recognisable: Probability that an instrument bears the colours of its category. Where this is not 0, one
            without them is called an instrument and nothing else, and unlabelled tissue never looks like a labelled
            organ: whatever a phrase says can then be seen.
        rest: Probability that an instrument holds quite still in the scene.
        deformation: Probability that a soft thing sways.
        smoke: Probability of smoke.
        lens_circle: Probability of the black border of an endoscope. Keep it small: too many black borders
            teach that black is outside.
        unsteady_light: Probability that the exposure swings.
        defocus: Probability of blur.
        motion_blur: Probability that motion is smeared.
        grain: Probability of sensor noise.
        compression: Probability of compression artefacts with chroma subsampling.
        low_resolution: Probability that the recording is upscaled.
    """

    image_hw: tuple[int, int] = (192, 240)
    num_frames: int = 8
    num_instruments: tuple[int, int] = (1, 5)
    num_anatomy: tuple[int, int] = (0, 3)
    num_shapes: tuple[int, int] = (1, 6)
    surgical_share: float = 0.45
    object_speed_px: tuple[float, float] = (0.3, 10.0)
    camera_speed_px: tuple[float, float] = (0.1, 5.0)
    camera_motion: float = 0.7
    camera_jerk: float = 0.06
    reentry: float = 0.08
    late_entry: float = 0.08
    exit: float = 0.06
    insertion: float = 0.2
    twins: float = 0.3
    strand: float = 0.2
    occluder: float = 0.15
    tissue_tint: float = 0.15
    recognisable: float = 0.0
    rest: float = 0.0
    deformation: float = 0.7
    smoke: float = 0.15
    lens_circle: float = 0.06
    unsteady_light: float = 0.25
    defocus: float = 0.25
    motion_blur: float = 0.5
    grain: float = 0.7
    compression: float = 0.5
    low_resolution: float = 0.15

    def __post_init__(self) -> None:
        if min(self.image_hw) < 32 or self.num_frames < 1:
            raise ConfigError(
                f"expected image_hw of at least 32x32 and num_frames >= 1, got {self.image_hw} and {self.num_frames}"
            )
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not 0.0 <= value <= 1.0:
                raise ConfigError(f"expected {item.name} in 0..1, got {value}")
            if isinstance(value, tuple) and item.name != "image_hw" and not 0 <= value[0] <= value[1]:
                raise ConfigError(f"expected {item.name} as (low, high) with 0 <= low <= high, got {value}")
        if self.reentry + self.late_entry + self.exit + 1.25 * self.insertion > 1.0:
            raise ConfigError(
                "expected reentry + late_entry + exit + 1.25 * insertion <= 1, got more; try less of each"
            )
