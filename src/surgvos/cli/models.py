"""``surgvos models``: list, fetch, describe and convert models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from surgvos.errors import InputError

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="List, fetch, describe and convert models.")


@app.command("list")
def list_models() -> None:
    """List the models by name: those in the box, and those that are fetched on first use."""
    from surgvos.models.registry import ZOO, bundled_weights, cached_weights

    rows = [(name, "Apache-2.0", f"in the box, {_megabytes(path)}") for name, path in sorted(bundled_weights().items())]
    for name, entry in ZOO.items():
        cached = cached_weights(entry)
        where = f"fetched, {_megabytes(cached)}" if cached else f"on first use, from {entry.repository}"
        rows.append((name, entry.licence, where))
    for name, licence, where in rows:
        typer.echo(f"{name:<24}{licence:<13}{where}")


@app.command()
def get(name: Annotated[str, typer.Argument(help="As in: surgvos models list")]) -> None:
    """Fetch a model's weights, so that later runs need no network, and print where they are.

    \b
    Example:
      surgvos models get sam2.1-hiera-small
    """
    from surgvos.models.registry import find_weights

    typer.echo(find_weights(name))


@app.command()
def info(model: Annotated[str, typer.Argument(help="A model's name, its weights or its folder.")]) -> None:
    """Describe a model: kind, settings, parameters, input size and the SHA-256 of its file.

    \b
    Examples:
      surgvos models info surgvos-nano
      surgvos models info sam2.1_hiera_tiny.pt
    """
    from torch import nn

    from surgvos.io.run_record import file_sha256
    from surgvos.models.families import family_name
    from surgvos.models.registry import find_weights, load_model

    path = find_weights(model)
    network = load_model(path, device="cpu", dtype="fp32")
    assert isinstance(network, nn.Module)
    height, width = network.input_hw((720, 1280))
    facts = {
        "file": path,
        "size": _megabytes(path),
        "sha256": file_sha256(path),
        "kind": family_name(network),
        "parameters": f"{sum(p.numel() for p in network.parameters()):,}",
        "tensors": len(network.state_dict()),
        "input of a 720p video": f"{width}x{height}",
    }
    config: Any = network.config
    for name, value in (facts | asdict(config)).items():
        typer.echo(f"{name:<26}{value}")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(help="A checkpoint: .pt, .pth or .safetensors.")],
    target: Annotated[Path, typer.Argument(help="A new file ending in .safetensors.")],
) -> None:
    """Rewrite a checkpoint as safetensors that hold their configuration; float32, checked on the way.

    \b
    Example:
      surgvos models convert sam2.1_hiera_tiny.pt sam2.1-hiera-tiny.safetensors
    """
    from surgvos.models.checkpoints import load_checkpoint, save_model

    if target.exists():
        raise InputError(f"expected a new file, got {target}, which exists; try another name")
    save_model(target, load_checkpoint(source))
    typer.echo(f"{target} ({_megabytes(target)})")


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
