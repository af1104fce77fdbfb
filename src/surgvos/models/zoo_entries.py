"""What is known of published weights, and how they come here: by the hub, by a plain address, or by hand."""

from __future__ import annotations

import re
import shutil
import warnings
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from surgvos.errors import CheckpointError
from surgvos.models.checkpoints import load_checkpoint, read_state_dict, write_atomically
from surgvos.models.downloads import Progress, download
from surgvos.models.folders import CHECKSUMS, MIRROR_VARIABLE, find_mirrored, models_folder, noted_sha256, sha256_of
from surgvos.models.resurg import ResurgConfig
from surgvos.models.sam2 import Sam2Config

_HUB = "https://huggingface.co"
_SHA256 = re.compile(r"[0-9a-f]{64}")


class Verdict(StrEnum):
    """What a file's checksum says."""

    SAME = "ok"
    UNKNOWN = "note"
    DIFFERS = "differs"


class Verification(NamedTuple):
    """How a file compares with what it should be.

    Attributes:
        verdict: In a word.
        text: In a sentence.
    """

    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ZooEntry:
    """Facts about published weights.

    Attributes:
        name: Under which they are found here.
        task: What they are for.
        licence: Of the weights, in its authors' words.
        file_name: As published.
        num_bytes: Size of the file, where it is known.
        sha256: Of the file, where it is known.
        frames_per_second: Measured with one object on one CPU thread in float32 at the model's own input size.
    """

    name: str
    task: str
    licence: str
    file_name: str
    num_bytes: int | None = None
    sha256: str | None = None
    frames_per_second: float | None = None

    @property
    def origin(self) -> str:
        """How the weights come here, in a few words."""
        raise NotImplementedError

    def found(self) -> Path | None:
        """Where the weights are on this machine, in the mirror first, or None; asks no network."""
        return self.mirrored() or self.cached()

    def mirrored(self) -> Path | None:
        """Where the weights are in the mirror, or None."""
        return find_mirrored(self.name, self.file_name)

    def cached(self) -> Path | None:
        """Where the weights were put when they were fetched or taken in, or None."""
        path = self._place()
        return path if path.is_file() else None

    def place(self, found: Path) -> str:
        """Where weights that are here are, in a word or two."""
        return "in the mirror" if found == self.mirrored() else "fetched"

    def fetch(self, progress: Progress | None = None) -> Path:
        """Find the weights, or fetch them.

        Raises:
            CheckpointError: They are not here and cannot be fetched.
        """
        raise NotImplementedError

    def verify(self, path: Path) -> Verification:
        """Compare a file with the published one, as far as anything is known of it."""
        found, announced = sha256_of(path), self._announced(path)
        if found == self.sha256:
            return Verification(Verdict.SAME, "as published")
        if found == announced and self.sha256 is None:
            return Verification(Verdict.SAME, "as it was when it came here; no checksum of it is published")
        if found == announced:
            return Verification(Verdict.UNKNOWN, f"as it was when it came here, but not the file known here: {found}")
        if self.sha256 is None and announced is None:
            return Verification(Verdict.UNKNOWN, f"no checksum of it is known; its SHA-256 is {found}")
        return Verification(
            Verdict.DIFFERS, f"expected SHA-256 {self.sha256 or announced}, got {found}; delete it and fetch it again"
        )

    def copy_to(self, folder: Path) -> Path:
        """Copy the weights, which are here, to where a mirror has them."""
        source = self.fetch()
        target = folder / self.name / self.file_name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        _note_sha256(target)
        return target

    def _announced(self, path: Path) -> str | None:
        """What was noted of a file when it came here."""
        return noted_sha256(path)

    def _place(self) -> Path:
        return models_folder() / self.name / self.file_name


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxEntry(ZooEntry):
    """Weights that are installed with the package.

    Attributes:
        path: Where.
    """

    path: Path

    @property
    def origin(self) -> str:
        return "with the package"

    def mirrored(self) -> Path | None:
        return None

    def cached(self) -> Path | None:
        return self.path

    def place(self, found: Path) -> str:
        del found
        return "in the box"

    def fetch(self, progress: Progress | None = None) -> Path:
        del progress
        return self.path


@dataclass(frozen=True, slots=True, kw_only=True)
class HubEntry(ZooEntry):
    """Weights on the Hugging Face hub, fetched on first use.

    Attributes:
        repository: On the hub.
        plain_address: Where the same file is as well, for networks that do not reach the hub; or None.
    """

    repository: str
    plain_address: str | None = None

    @property
    def address(self) -> str:
        """Where the file can be fetched by hand."""
        return f"{_HUB}/{self.repository}/resolve/main/{self.file_name}"

    @property
    def origin(self) -> str:
        return f"on first use, from {self.repository}"

    def cached(self) -> Path | None:
        import huggingface_hub

        found = huggingface_hub.try_to_load_from_cache(self.repository, self.file_name)
        return Path(found) if isinstance(found, str) else ZooEntry.cached(self)

    def fetch(self, progress: Progress | None = None) -> Path:
        if (found := self.found()) is not None:
            return found
        import huggingface_hub

        try:
            return Path(huggingface_hub.hf_hub_download(repo_id=self.repository, filename=self.file_name))
        except Exception as error:  # networks fail in many ways
            if self.plain_address is None or huggingface_hub.constants.HF_HUB_OFFLINE:
                raise _not_fetched(self.repository, self.file_name, self.address, error) from error
            warnings.warn(f"the hub gave {_in_short(error)}; fetching {self.plain_address} instead", stacklevel=2)
        return download(self.plain_address, self._place(), sha256=self.sha256, progress=progress)

    def _announced(self, path: Path) -> str | None:
        # The hub's cache names a file's content by the SHA-256 that the hub says it has.
        stored = path.resolve().name
        return stored if _SHA256.fullmatch(stored) else noted_sha256(path)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFolder(ZooEntry):
    """Several files of one repository on the hub that are read together from its cache.

    Attributes:
        repository: On the hub.
        patterns: Which of its files are needed.
    """

    repository: str
    patterns: tuple[str, ...]

    @property
    def origin(self) -> str:
        return f"on first use, from {self.repository}"

    def mirrored(self) -> Path | None:
        return find_mirrored(self.name)

    def cached(self) -> Path | None:
        import huggingface_hub

        found = huggingface_hub.try_to_load_from_cache(self.repository, self.file_name)
        return Path(found).parent if isinstance(found, str) else None

    def fetch(self, progress: Progress | None = None) -> Path:
        del progress  # the hub shows its own
        if (found := self.mirrored()) is not None:
            return found
        import huggingface_hub

        try:
            return Path(huggingface_hub.snapshot_download(self.repository, allow_patterns=list(self.patterns)))
        except Exception as error:
            address = f"{_HUB}/{self.repository}/tree/main"
            raise _not_fetched(self.repository, "its files", address, error) from error

    def verify(self, path: Path) -> Verification:
        announced = {file: file.resolve().name for file in path.iterdir() if _SHA256.fullmatch(file.resolve().name)}
        broken = [file.name for file, sha256 in announced.items() if sha256_of(file) != sha256]
        if broken:
            text = f"expected other content of {', '.join(sorted(broken))}; delete it and fetch it again"
            return Verification(Verdict.DIFFERS, text)
        if announced:
            return Verification(Verdict.SAME, "as it was when it came here; no checksum of it is published")
        return Verification(Verdict.UNKNOWN, "no checksum of it is known")

    def copy_to(self, folder: Path) -> Path:
        target = folder / self.name
        shutil.copytree(self.fetch(), target, dirs_exist_ok=True)
        return target


@dataclass(frozen=True, slots=True, kw_only=True)
class HandEntry(ZooEntry):
    """Weights that their authors keep where only a person can fetch them.

    Their authors publish no checksum: what is checked is that names and shapes fit. What the file was when it was taken
    in is noted, so that damage is seen later.

    Attributes:
        address: Where a person finds the file.
        config: What the file must hold; no shape tells the input size it was trained for. None for an overseer.
        sign: Beginning of the name of a weight that an overseer of this kind has.
    """

    address: str
    config: Sam2Config | None = None
    sign: str = ""

    @property
    def origin(self) -> str:
        return f"by hand, from {self.address}"

    def fetch(self, progress: Progress | None = None) -> Path:
        del progress
        found = self.found()
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
        self._check(file)
        place = self._place()
        write_atomically(place, file.read_bytes())
        _note_sha256(place)
        return place

    def _check(self, file: Path) -> None:
        if self.config is None:
            if not any(name.startswith(self.sign) for name in read_state_dict(file)):
                raise CheckpointError(
                    f"expected the weights of {self.name} in {file}, got none that begin with {self.sign!r}; "
                    "try the file of that kind"
                )
            return
        config = load_checkpoint(file).config
        if not isinstance(config, Sam2Config) or replace(config, image_size=self.config.image_size) != self.config:
            raise CheckpointError(
                f"expected the weights of {self.name} ({_in_words(self.config)}) in {file}, got {_in_words(config)}; "
                "try the file of that name"
            )


def _note_sha256(path: Path) -> None:
    """Note beside a file what it is now."""
    write_atomically(path.with_name(CHECKSUMS), f"{sha256_of(path)}  {path.name}\n".encode())


def _not_fetched(repository: str, what: str, address: str, error: Exception) -> CheckpointError:
    from huggingface_hub.errors import GatedRepoError

    if isinstance(error, GatedRepoError):
        return CheckpointError(
            f"expected access to {repository}, got none, as its authors ask who you are; "
            f"try {_HUB}/{repository} in a browser, agree to its terms, then: hf auth login"
        )
    return CheckpointError(
        f"expected to fetch {what} from {repository}, got {_in_short(error)}, "
        f"try again online, or fetch {address} and give its path, or name a folder that holds it by {MIRROR_VARIABLE}"
    )


def _in_short(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _in_words(config: object) -> str:
    if not isinstance(config, Sam2Config):
        return f"a model with {type(config).__name__}"
    if isinstance(config, ResurgConfig):
        return f"ReSurgSAM2 with {sum(config.stages)} blocks"
    return f"SAM {'2.1' if config.pointer_time_encoding else '2.0'} with {sum(config.stages)} blocks"
