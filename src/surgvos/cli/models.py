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
    """List the models by name: those in the box, those fetched on first use, and those fetched by hand."""
    from surgvos.models.registry import bundled_weights
    from surgvos.models.zoo import ZOO

    rows = [(name, "Apache-2.0", f"in the box, {_megabytes(path)}") for name, path in sorted(bundled_weights().items())]
    for name, entry in ZOO.items():
        cached = entry.cached()
        where = f"fetched, {_megabytes(cached)}" if cached else entry.origin
        rows.append((name, entry.licence, where))
    for name, licence, where in rows:
        typer.echo(f"{name:<24}{licence:<13}{where}")


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="As in: surgvos models list")],
    from_: Annotated[Path | None, typer.Option("--from", help="A file that you fetched by hand.")] = None,
) -> None:
    """Fetch a model's weights, so that later runs need no network, and print where they are.

    Some authors keep weights where only a person can fetch them; --from takes in what you fetched.

    \b
    Examples:
      surgvos models get sam2.1-hiera-small
      surgvos models get surgical-sam2.1-endo18 --from sam2.1_hiera_s_endo18.pth
    """
    from surgvos.models.registry import find_weights
    from surgvos.models.zoo import ZOO, HandEntry

    if from_ is None:
        typer.echo(find_weights(name))
        return
    entry = ZOO.get(name)
    if not isinstance(entry, HandEntry):
        by_hand = ", ".join(known for known, found in ZOO.items() if isinstance(found, HandEntry))
        raise InputError(f"expected --from for a model that is fetched by hand ({by_hand}), got {name!r}")
    typer.echo(entry.take_in(from_))


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
    source: Annotated[
        Path, typer.Argument(help="A checkpoint (.pt, .pth, .safetensors), or a folder in Hugging Face's layout.")
    ],
    target: Annotated[Path, typer.Argument(help="A new file ending in .safetensors.")],
    image_size: Annotated[
        int | None, typer.Option(min=32, help="Input size of a SAM 2 model, which no checkpoint of it tells.")
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
    typer.echo(f"{target} ({_megabytes(target)})")


def _megabytes(path: Path) -> str:
    return f"{path.stat().st_size / 1e6:.1f} MB"
