"""Published weights by name: those that a program may fetch, and those that a person must."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from surgvos.errors import CheckpointError
from surgvos.models.checkpoints import load_checkpoint, write_atomically
from surgvos.models.resurg import ResurgConfig, resurg_small
from surgvos.models.sam2 import Sam2Config, small


@dataclass(frozen=True, slots=True, kw_only=True)
class HubEntry:
    """Weights on the Hugging Face hub, fetched on first use.

    Attributes:
        repository: On the hub.
        file_name: In it.
        licence: Of the weights.
    """

    repository: str
    file_name: str
    licence: str = "Apache-2.0"

    @property
    def address(self) -> str:
        """Where the file can be fetched by hand."""
        return f"https://huggingface.co/{self.repository}/resolve/main/{self.file_name}"

    @property
    def origin(self) -> str:
        """How the weights come here, in a few words."""
        return f"on first use, from {self.repository}"

    def cached(self) -> Path | None:
        """Where the weights were put when they were fetched, or None; asks no network."""
        import huggingface_hub

        found = huggingface_hub.try_to_load_from_cache(self.repository, self.file_name)
        return Path(found) if isinstance(found, str) else None

    def fetch(self) -> Path:
        """Fetch the file, or find it where it was put when fetched before.

        Raises:
            CheckpointError: It cannot be fetched.
        """
        import huggingface_hub

        try:
            return Path(huggingface_hub.hf_hub_download(repo_id=self.repository, filename=self.file_name))
        except Exception as error:  # networks fail in many ways
            reason = str(error).strip().partition("\n")[0]
            raise CheckpointError(
                f"expected to fetch {self.file_name} from {self.repository}, got {type(error).__name__}: {reason}, "
                f"try again online, or fetch {self.address} and give its path"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class HandEntry:
    """Weights that their authors keep where only a person can fetch them.

    Their authors publish no checksum: what is checked is that names and shapes fit.

    Attributes:
        name: Of the model.
        file_name: As published.
        address: Where a person finds the file.
        config: What the file must hold; no shape tells the input size it was trained for.
        licence: Of the weights.
    """

    name: str
    file_name: str
    address: str
    config: Sam2Config
    licence: str

    @property
    def origin(self) -> str:
        """How the weights come here, in a few words."""
        return f"by hand, from {self.address}"

    def cached(self) -> Path | None:
        """Where the weights were put when they were taken in, or None."""
        path = self._place()
        return path if path.is_file() else None

    def fetch(self) -> Path:
        """Find the file where it was put when it was taken in.

        Raises:
            CheckpointError: It was not.
        """
        found = self.cached()
        if found is None:
            raise CheckpointError(
                f"expected the weights of {self.name}, got none, as their authors keep them where only a person can "
                f"fetch them; try {self.address} in a browser, then: surgvos models get {self.name} "
                f"--from {self.file_name}"
            )
        return found

    def take_in(self, file: Path) -> Path:
        """Check a file that a person fetched, and keep it, as it is, under the model's name.

        Raises:
            CheckpointError: It is of another model, or no weights at all.
        """
        config = load_checkpoint(file).config
        if not isinstance(config, Sam2Config) or replace(config, image_size=self.config.image_size) != self.config:
            raise CheckpointError(
                f"expected the weights of {self.name} ({_in_words(self.config)}) in {file}, got {_in_words(config)}; "
                "try the file of that name"
            )
        write_atomically(self._place(), file.read_bytes())
        return self._place()

    def _place(self) -> Path:
        return models_folder() / self.name / self.file_name


def _in_words(config: object) -> str:
    if not isinstance(config, Sam2Config):
        return f"a model with {type(config).__name__}"
    if isinstance(config, ResurgConfig):
        return f"ReSurgSAM2 with {sum(config.stages)} blocks"
    return f"SAM {'2.1' if config.pointer_time_encoding else '2.0'} with {sum(config.stages)} blocks"


ZooEntry: TypeAlias = HubEntry | HandEntry


def models_folder() -> Path:
    """Where weights are kept that were fetched by hand: ``SURGVOS_MODELS``, or a folder of the user's cache."""
    if chosen := os.environ.get("SURGVOS_MODELS"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "surgvos" / "models"


def published_image_size(file: Path) -> int | None:
    """Input size of published weights by the name of their file, where no shape in the file tells it."""
    sizes = {e.file_name: e.config.image_size for e in ZOO.values() if isinstance(e, HandEntry)}
    return sizes.get(file.name)


def _sam2(version: str, size: str) -> HubEntry:
    file_name = f"{version}_hiera_{size.replace('-', '_')}.pt"
    return HubEntry(repository=f"facebook/{version}-hiera-{size}", file_name=file_name)


def _surgical_sam2(version: str, file_id: str, config: Callable[[int], Sam2Config]) -> HandEntry:
    return HandEntry(
        name=f"surgical-{version}-endo18",
        file_name=f"{version}_hiera_s_endo18.pth",
        address=f"https://drive.google.com/file/d/{file_id}/view",
        config=config(512),
        licence="none stated",
    )


def _resurgsam2(dataset: str) -> HandEntry:
    return HandEntry(
        name=f"resurgsam2-endovis{dataset}",
        file_name=f"sam2.1_hiera_s_ref{dataset}.pth",
        address="https://drive.google.com/file/d/12pbQhWdKFNPAYk9IC33CVNbeBded7_wI/view",
        config=resurg_small(),
        licence="none stated",
    )


def _first_small(image_size: int) -> Sam2Config:
    return replace(small(image_size), pointer_time_encoding=False, absent_spatial_embedding=False)


ZOO: dict[str, ZooEntry] = {
    **{
        f"{version}-hiera-{size}": _sam2(version, size)
        for version in ("sam2.1", "sam2")
        for size in ("tiny", "small", "base-plus", "large")
    },
    # Reference: Liu et al., Surgical SAM 2 (arXiv 2408.07931), and the links of its repository's README
    # (github.com/jinlab-imvr/Surgical-SAM-2). EndoVis's own terms exclude commercial use.
    **{
        entry.name: entry
        for entry in (
            _surgical_sam2("sam2.1", "1DyrrLKst1ZQwkgKM7BWCCwLxSXAgOcMI", small),
            _surgical_sam2("sam2", "102AsbwpntPfUV96ANO2AWe7L6feskYnM", _first_small),
            # Reference: Liu et al., ReSurgSAM2 (arXiv 2505.08581), and its repository's README
            # (github.com/jinlab-imvr/ReSurgSAM2): one archive holds both files.
            _resurgsam2("17"),
            _resurgsam2("18"),
        )
    },
}
"""Published weights, by the name of their model."""
