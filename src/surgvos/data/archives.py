"""Files by name, wherever they lie: in folders, in archives, or in folders of archives. Nothing is unpacked."""

from __future__ import annotations

import os
import re
import stat
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Protocol

from surgvos.errors import InputError

MAX_MEMBER_BYTES = 256 * 2**20
"""A frame of 1920x1080 has 6 MB as raw pixels; what claims to be forty times that is no file of a data set."""

MAX_RATIO = 1100
"""Deflate cannot pack tighter than 1032 to 1: a header that says so lies."""

MAX_MEMBERS = 2_000_000

_ZIP, _TAR = (".zip",), (".tar",)
_PACKED_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".7z", ".rar")
_JUNK = {"__MACOSX", "Thumbs.db", "desktop.ini"}
_DRIVE = re.compile(r"^[A-Za-z]:")
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError)


class _Holder(Protocol):
    """Something that holds files: a folder or an archive."""

    path: Path

    def sizes(self) -> Iterator[tuple[str, int]]: ...

    def read(self, name: str) -> bytes: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a file of a tree lies."""

    holder: _Holder
    name: str


class FileTree:
    """Files by name, in folders and archives alike; a context manager. Reading is safe from several threads.

    Archives (zip, tar) in a folder count as folders that are named like them. Where a name is found twice, the
    unpacked file counts. Hidden files and what macOS and Windows leave behind are left out.

    Example:
        >>> with FileTree.open("downloads") as files:  # doctest: +SKIP
        ...     frames = [name for name in files if name.endswith(".png")]
    """

    def __init__(self, holders: Sequence[tuple[str, _Holder]]) -> None:
        self._places: dict[str, _Place] = {}
        self._holders = [holder for _, holder in holders]
        self._lock = threading.Lock()
        for prefix, holder in holders:
            for name, _ in holder.sizes():
                if not _is_junk(name):
                    self._places.setdefault(f"{prefix}{name}", _Place(holder, name))

    @classmethod
    def open(cls, *paths: str | Path, leave_out: str | Path | None = None) -> FileTree:
        """Open folders or archives as one tree.

        Args:
            paths: Folders and archives.
            leave_out: A folder that is not entered, if it lies in one of them.

        Raises:
            InputError: A path does not exist, is no archive, or is an archive that is damaged or not to be trusted
                (names that lead out of it, links, encryption, sizes beyond reason).
        """
        holders: list[tuple[str, _Holder]] = []
        try:
            for path in map(Path, paths):
                _open_into(holders, path, leave_out)
        except BaseException:
            for _, holder in holders:
                holder.close()
            raise
        return cls(holders)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def where(self, name: str) -> str:
        """Where a file lies, for a message: ``train.zip: seq_1/frame000.png``."""
        place = self._places[name]
        separator = "/" if isinstance(place.holder, _Folder) else ": "
        return f"{place.holder.path}{separator}{place.name}"

    def read(self, name: str) -> bytes:
        """Read a file.

        Raises:
            InputError: It is damaged, or has gone.
        """
        place = self._places[name]
        try:
            with self._lock:
                return place.holder.read(place.name)
        except _BROKEN as error:
            raise InputError(
                f"expected a readable file, got {self.where(name)!r} ({error}); try downloading it again"
            ) from error

    def close(self) -> None:
        """Close the archives."""
        for holder in self._holders:
            holder.close()

    def __enter__(self) -> FileTree:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Folder:
    def __init__(self, path: Path, leave_out: str | Path | None) -> None:
        self.path = path
        self._names: list[tuple[str, int]] = []
        self.archives: list[Path] = []
        seen = set() if leave_out is None else {os.path.realpath(leave_out)}
        for folder, subfolders, names in os.walk(path, followlinks=True):
            # A link may lead back up: each real folder is entered once.
            subfolders[:] = sorted(name for name in subfolders if not _seen_before(Path(folder, name), seen))
            for name in sorted(names):
                file = Path(folder, name)
                self._names.append((file.relative_to(path).as_posix(), 0))
                if name.lower().endswith(_ZIP + _TAR) and not name.startswith("."):
                    self.archives.append(file)

    def sizes(self) -> Iterator[tuple[str, int]]:
        return iter(self._names)

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def close(self) -> None:
        """Nothing is held open."""


class _Zip:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = zipfile.ZipFile(path)
        except _BROKEN as error:
            raise _damaged(path, error) from error
        self._members: dict[str, zipfile.ZipInfo] = {}
        try:
            members = self._file.infolist()
            _check_number(path, len(members))
            for member in members:
                name = _checked_name(path, member.filename)
                mode = member.external_attr >> 16
                # Archives made on other systems store no file type at all; regular files have it or have zero.
                if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                    raise _untrusted(path, f"{name!r}, which is a link or a device")
                if member.flag_bits & 1:
                    raise _untrusted(path, f"{name!r}, which is encrypted", "unpacking it with its password")
                _check_size(path, name, member.file_size, member.compress_size)
                if not member.is_dir():
                    self._members[name] = member
        except BaseException:
            self._file.close()
            raise

    def sizes(self) -> Iterator[tuple[str, int]]:
        return ((name, member.file_size) for name, member in self._members.items())

    def read(self, name: str) -> bytes:
        return self._file.read(self._members[name])

    def close(self) -> None:
        self._file.close()


class _Tar:
    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = tarfile.open(path, "r:")  # noqa: SIM115 (closed by close)
        except _BROKEN as error:
            raise _damaged(path, error) from error
        self._members: dict[str, tarfile.TarInfo] = {}
        try:
            for number, member in enumerate(self._iterate()):
                _check_number(path, number)
                name = _checked_name(path, member.name)
                if not (member.isreg() or member.isdir()):
                    raise _untrusted(path, f"{name!r}, which is a link or a device")
                _check_size(path, name, member.size, member.size)
                if member.isreg():
                    self._members[name] = member
        except BaseException:
            self._file.close()
            raise

    def _iterate(self) -> Iterator[tarfile.TarInfo]:
        try:
            yield from self._file
        except _BROKEN as error:
            raise _damaged(self.path, error) from error

    def sizes(self) -> Iterator[tuple[str, int]]:
        return ((name, member.size) for name, member in self._members.items())

    def read(self, name: str) -> bytes:
        member = self._members[name]
        file = self._file.extractfile(member)
        content = b"" if file is None else _read_all(file)
        if len(content) != member.size:
            raise EOFError("the archive ends early")
        return content

    def close(self) -> None:
        self._file.close()


def is_archive(path: Path) -> bool:
    """Whether a file is named like an archive that `FileTree` reads."""
    return path.name.lower().endswith(_ZIP + _TAR)


def _open_into(holders: list[tuple[str, _Holder]], path: Path, leave_out: str | Path | None) -> None:
    if path.is_dir():
        folder = _Folder(path, leave_out)
        holders.append(("", folder))
        for archive in folder.archives:
            prefix = archive.relative_to(path).with_suffix("").as_posix()
            holders.append((f"{prefix}/", _open_holder(archive)))
    elif path.is_file():
        holders.append((f"{path.stem}/", _open_holder(path)))
    else:
        raise InputError(f"expected a folder or an archive, got {str(path)!r}, which does not exist")


def _open_holder(path: Path) -> _Holder:
    name = path.name.lower()
    if name.endswith(_ZIP):
        return _Zip(path)
    if name.endswith(_TAR):
        return _Tar(path)
    hint = "unpacking it" if name.endswith(_PACKED_TAR) else "a folder of downloads"
    raise InputError(f"expected a folder, a zip or an uncompressed tar archive, got {str(path)!r}; try {hint}")


def _damaged(path: Path, error: Exception) -> InputError:
    return InputError(
        f"expected a whole archive, got {str(path)!r}, which is cut short or damaged ({error}); "
        "try downloading it again"
    )


def _untrusted(path: Path, what: str, hint: str = "another copy of the archive") -> InputError:
    return InputError(f"expected an archive of plain files, got {str(path)!r} with {what}; try {hint}")


def _checked_name(path: Path, raw: str) -> str:
    """The name of a member with forward slashes; one that leads out of the archive is refused."""
    name = raw.replace("\\", "/")
    parts = name.split("/")
    if name.startswith("/") or _DRIVE.match(name) or ".." in parts or "\0" in name:
        raise _untrusted(path, f"{raw!r}, a name that leads out of it")
    return "/".join(part for part in parts if part not in ("", "."))


def _check_size(path: Path, name: str, size: int, packed: int) -> None:
    if size > MAX_MEMBER_BYTES:
        raise _untrusted(path, f"{name!r} of {size >> 20} MB, more than {MAX_MEMBER_BYTES >> 20} MB")
    if size > 2**20 and size > MAX_RATIO * max(packed, 1):
        raise _untrusted(path, f"{name!r}, which grows from {packed} to {size} bytes")


def _check_number(path: Path, number: int) -> None:
    if number > MAX_MEMBERS:
        raise _untrusted(path, f"more than {MAX_MEMBERS} files")


def _is_junk(name: str) -> bool:
    return any(part.startswith(".") or part in _JUNK for part in name.split("/"))


def _seen_before(folder: Path, seen: set[str]) -> bool:
    real = os.path.realpath(folder)
    if real in seen:
        return True
    seen.add(real)
    return False


def _read_all(file: IO[bytes]) -> bytes:
    with file:
        return file.read()


def first_names(names: Sequence[str], number: int = 3) -> str:
    """The first names of a list, for a message: ``seq_1, seq_2, seq_3 and 5 more``."""
    more = len(names) - number
    return ", ".join(names[:number]) + (f" and {more} more" if more > 0 else "")
