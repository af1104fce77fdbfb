"""``surgvos models``: list, fetch, describe, check and convert models."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from surgvos.errors import InputError, SurgvosError

if TYPE_CHECKING:
    from surgvos.models.zoo_entries import Verification, ZooEntry

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="List, fetch, describe, check and convert models.")

_Mirror = Annotated[
    Path | None,
    typer.Option(help="A folder of weights to look in first, such as a network drive [SURGVOS_MIRROR]."),
]


@app.command("list")
def list_models(mirror: _Mirror = None) -> None:
    """List the models by name: those in the box, those fetched on first use, and those fetched by hand.

    Behind the models come what works with them: overseers, and the reader of phrases. Frames/s are those of one object
    on one CPU thread, in float32, at the model's own input size.
    """
    from surgvos.models.registry import entries

    typer.echo(f"{'name':<30}{'task':<29}{'size':>9}{'frames/s':>10}  {'licence':<15}where")
    with _looking_in(mirror):
        for name, entry in entries().items():
            found = entry.found()
            # A folder's size says little: it may hold files of the same weights for other programs.
            num_bytes = found.stat().st_size if found is not None and found.is_file() else entry.num_bytes
            size = "" if num_bytes is None else _megabytes(num_bytes)
            speed = "" if entry.frames_per_second is None else f"{entry.frames_per_second:g}"
            where = entry.origin if found is None else entry.place(found)
            typer.echo(f"{name:<30}{entry.task:<29}{size:>9}{speed:>10}  {entry.licence:<15}{where}")


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="As in: surgvos models list")],
    from_: Annotated[Path | None, typer.Option("--from", help="A file that you fetched by hand.")] = None,
    to: Annotated[
        Path | None,
        typer.Option(help="Also copy it to this folder, for a machine without a network to have as mirror."),
    ] = None,
    mirror: _Mirror = None,
) -> None:
    """Fetch a model's weights, so that later runs need no network, check them, and print where they are.

    Some authors keep weights where only a person can fetch them; --from takes in what you fetched. What a broken
    connection left is gone on from.

    \b
    Examples:
      surgvos models get sam2.1-hiera-small
      surgvos models get surgical-sam2.1-endo18 --from sam2.1_hiera_s_endo18.pth
      surgvos models get sam2.1-hiera-small --to /media/stick
      SURGVOS_MIRROR=/media/stick surgvos segment case.mp4 --model sam2.1-hiera-small ...
    """
    from surgvos.models.zoo_entries import Verdict

    entry = _find_entry(name)
    with _looking_in(mirror):
        path = _fetch(entry) if from_ is None else _take_in(entry, from_)
        if (checked := entry.verify(path)).verdict is Verdict.DIFFERS:
            raise SurgvosError(f"{path}: {checked.text}")
        typer.echo(path if to is None else entry.copy_to(to))


@app.command()
def info(model: Annotated[str, typer.Argument(help="A model's name, its weights or its folder.")]) -> None:
    """Describe a model: task, licence, source, and of weights that are here kind, settings and SHA-256.

    Nothing is fetched.

    \b
    Examples:
      surgvos models info surgvos-nano
      surgvos models info sam2.1_hiera_tiny.pt
    """
    from surgvos.models.registry import entries, find_weights, model_names

    entry = entries().get(model)
    facts: dict[str, Any] = {} if entry is None else _facts(entry)
    if entry is None or (entry.found() is not None and model in model_names()):
        facts |= _describe(find_weights(model))
    for name, value in facts.items():
        typer.echo(f"{name:<26}{value}")


@app.command()
def verify(
    models: Annotated[list[str] | None, typer.Argument(help="Names, or files of weights [all that are here].")] = None,
    mirror: _Mirror = None,
) -> None:
    """Compare weights that are here with the published ones, by their SHA-256.

    Where their authors publish no checksum, that is said; then it is compared with what it was when it came here. A
    file is compared with the model that has its name. Exit code 1 where anything differs.

    \b
    Examples:
      surgvos models verify
      surgvos models verify sam2.1-hiera-tiny downloads/sam2.1_hiera_small.pt
    """
    from surgvos.models.zoo_entries import Verdict

    differing = []
    with _looking_in(mirror):
        for name, checked in _verify(models or []):
            typer.echo(f"{checked.verdict:<9}{name:<30}{checked.text}")
            if checked.verdict is Verdict.DIFFERS:
                differing.append(name)
    if differing:
        raise SurgvosError(f"expected weights as they were published, got others for {', '.join(differing)}")


@app.command()
def convert(
    source: Annotated[
        Path, typer.Argument(help="A checkpoint (.pt, .pth, .safetensors), or a folder in Hugging Face's layout.")
    ],
    target: Annotated[Path, typer.Argument(help="A new file ending in .safetensors.")],
    image_size: Annotated[
        int | None, typer.Option(min=32, help="Input size, which no checkpoint of SAM 2 tells; see segment --size.")
    ] = None,
) -> None:
    """Rewrite a checkpoint as safetensors that hold their configuration; float32, checked on the way.

    A folder that transformers' Sam2VideoModel.save_pretrained wrote is read as well; its names become SAM 2's own.

    \b
    Examples:
      surgvos models convert sam2.1_hiera_tiny.pt sam2.1-hiera-tiny.safetensors
      surgvos models convert my_finetuned_small.pth mine.safetensors --image-size 512
      surgvos models convert sam2_from_transformers/ mine.safetensors
    """
    from surgvos.models.checkpoints import save_model
    from surgvos.models.registry import find_weights, load_network

    if target.exists():
        raise InputError(f"expected a new file, got {target}, which exists; try another name")
    save_model(target, load_network(find_weights(source), image_size))
    typer.echo(f"{target} ({_megabytes(target.stat().st_size)})")


@contextmanager
def _looking_in(mirror: Path | None) -> Iterator[None]:
    """Look in a mirror while the block runs."""
    from surgvos.models.folders import MIRROR_VARIABLE

    if mirror is None:
        yield
        return
    if not mirror.is_dir():
        raise InputError(f"expected the folder of a mirror, got {str(mirror)!r}, which is none; try another --mirror")
    before = os.environ.get(MIRROR_VARIABLE)
    os.environ[MIRROR_VARIABLE] = str(mirror)
    try:
        yield
    finally:
        del os.environ[MIRROR_VARIABLE]
        if before is not None:
            os.environ[MIRROR_VARIABLE] = before


def _find_entry(name: str) -> ZooEntry:
    from surgvos.models.registry import entries, unknown_model

    if name not in entries():
        raise unknown_model(name, entries())
    return entries()[name]


def _fetch(entry: ZooEntry) -> Path:
    from surgvos.cli.progress import progress_bar

    with progress_bar("MB") as progress:
        return entry.fetch(lambda done, in_all: progress(done // 10**6, in_all and in_all // 10**6))


def _take_in(entry: ZooEntry, file: Path) -> Path:
    from surgvos.models.zoo import PUBLISHED
    from surgvos.models.zoo_entries import HandEntry

    if not isinstance(entry, HandEntry):
        by_hand = ", ".join(known for known, found in PUBLISHED.items() if isinstance(found, HandEntry))
        raise InputError(f"expected --from for a model that is fetched by hand ({by_hand}), got {entry.name!r}")
    return entry.take_in(file)


def _verify(models: list[str]) -> Iterable[tuple[str, Verification]]:
    """Compare named models and files; of no names, all that are here."""
    from surgvos.models.registry import entries
    from surgvos.models.zoo_entries import Verdict, Verification

    known = entries()
    for name in models or known:
        path = known[name].found() if name in known else None
        if path is not None:
            yield name, known[name].verify(path)
        elif Path(name).is_file():
            yield name, _verify_file(Path(name), known.values())
        elif models:
            yield name, Verification(Verdict.UNKNOWN, f"not here; it comes {_find_entry(name).origin}")


def _verify_file(path: Path, known: Iterable[ZooEntry]) -> Verification:
    """Compare a file with the model whose content it has, or else with the one whose name it has."""
    from surgvos.models.folders import sha256_of
    from surgvos.models.zoo_entries import Verdict, Verification

    sha256 = sha256_of(path)
    alike = [entry for entry in known if entry.sha256 == sha256 or entry.file_name == path.name]
    alike.sort(key=lambda entry: entry.sha256 != sha256)
    if not alike:
        return Verification(Verdict.UNKNOWN, f"no published model has its name or its content; its SHA-256 is {sha256}")
    checked = alike[0].verify(path)
    return checked._replace(text=f"{alike[0].name}: {checked.text}")


def _facts(entry: ZooEntry) -> dict[str, Any]:
    """What is known of a model without its weights."""
    facts = {
        "task": entry.task,
        "licence": entry.licence,
        "source": entry.origin,
        "published size": None if entry.num_bytes is None else _megabytes(entry.num_bytes),
        "published sha256": entry.sha256 or "none is known",
        "frames/s on a CPU thread": entry.frames_per_second,
        "here": entry.found() or "no",
    }
    return {name: value for name, value in facts.items() if value is not None}


def _describe(path: Path) -> dict[str, Any]:
    """What weights say of themselves."""
    from torch import nn

    from surgvos.models.families import family_name
    from surgvos.models.folders import sha256_of
    from surgvos.models.registry import load_model

    network = load_model(path, device="cpu", dtype="fp32")
    assert isinstance(network, nn.Module)
    height, width = network.input_hw((720, 1280))
    config: Any = network.config
    return {
        "file": path,
        "size": _megabytes(path.stat().st_size),
        "sha256": sha256_of(path),
        "kind": family_name(network),
        "parameters": f"{sum(p.numel() for p in network.parameters()):,}",
        "tensors": len(network.state_dict()),
        "input of a 720p video": f"{width}x{height}",
    } | asdict(config)


def _megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e6:.1f} MB"
