"""Which videos are meant by files, folders, patterns and lists."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from glob import glob, has_magic
from pathlib import Path

from surgvos.errors import InputError
from surgvos.io.image_folder import IMAGE_SUFFIXES, natural_key
from surgvos.io.video import VIDEO_SUFFIXES

LIST_SUFFIX = ".txt"


@dataclass(frozen=True, slots=True)
class NamedVideo:
    """A video among others.

    Attributes:
        name: Of the folder of its results; no other video has it.
        source: As `open_video` takes it.
    """

    name: str
    source: str


def find_named_videos(words: Sequence[str]) -> list[NamedVideo] | None:
    """List the videos that are meant where there may be many.

    Args:
        words: Each a video, a folder of videos (files, or folders of images), a pattern such as ``cases/**/*.mp4``, or
            a ``.txt`` file with a video in each line, relative to the file; ``#`` begins a remark.

    Returns:
        The videos in order, each once. Their names are those of their files, or where these are not enough the path
        below the folder that they share, joined by ``_``. None where one video itself is what is meant.

    Raises:
        InputError: A folder, pattern or list holds no video, or a stream is among several.
    """
    if len(words) == 1 and not _stands_for_many(words[0]):
        return None
    sources = list(dict.fromkeys(source for word in words for source in _expand(word)))
    streams = [source for source in sources if _is_stream(source)]
    if streams:
        raise InputError(f"expected files and folders where there are many videos, got the stream {streams[0]!r}")
    names = _names_of([Path(source) for source in sources])
    return [NamedVideo(name, source) for name, source in zip(names, sources, strict=True)]


def _stands_for_many(word: str) -> bool:
    if _is_stream(word):
        return False
    path = Path(word)
    if path.is_dir():
        return not _is_frame_folder(path) and any(map(_is_video, path.iterdir()))
    return (not path.exists() and has_magic(word)) or path.suffix.lower() == LIST_SUFFIX


def _expand(word: str) -> Iterator[str]:
    path = Path(word)
    if not _stands_for_many(word):
        yield word
    elif path.is_dir():
        yield from map(str, sorted(filter(_is_video, path.iterdir()), key=natural_key))
    elif has_magic(word):
        found = [path for path in map(Path, glob(word, recursive=True)) if _is_video(path)]
        if not found:
            raise InputError(f"expected a pattern that some videos fit, got {word!r}; try it with ls")
        yield from map(str, sorted(found, key=lambda path: [natural_key(Path(part)) for part in path.parts]))
    else:
        yield from _read_list(path)


def _read_list(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"expected a list of videos, one in each line, got {str(path)!r} ({error})") from error
    named = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not named:
        raise InputError(f"expected a video in each line of {str(path)!r}, got none")
    return [name if _is_stream(name) else str(path.parent / name) for name in named]


def _names_of(paths: Sequence[Path]) -> list[str]:
    absolute = [Path(os.path.abspath(path)) for path in paths]
    names = [path.name if path.is_dir() else path.stem for path in absolute]
    if len(set(names)) < len(names):
        shared = os.path.commonpath([path.parent for path in absolute])
        names = [
            "_".join((path if path.is_dir() else path.with_suffix("")).relative_to(shared).parts) for path in absolute
        ]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"expected videos of different names, got two called {twice[0]!r}; try renaming one of them")
    return names


def _is_video(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    return _is_frame_folder(path) if path.is_dir() else path.suffix.lower() in VIDEO_SUFFIXES


def _is_frame_folder(folder: Path) -> bool:
    return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir() if path.is_file())


def _is_stream(word: str) -> bool:
    return word.startswith("camera:") or re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", word) is not None
