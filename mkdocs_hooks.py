"""Writes pages while the site is built: commands and label spaces from the code, and the notebooks as they run."""

from __future__ import annotations

import ast
import base64
import io
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

COMMANDS, LABEL_SPACES = "commands.md", "label_spaces.md"


def on_files(files: Files, *, config: Any) -> Files:
    """Add the pages."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, COMMANDS, content="\n".join(command_reference())))
    for file in [file for file in files if file.src_uri.endswith(".ipynb")]:
        content = "\n".join(notebook_page(Path(file.abs_src_path)))
        files.append(File.generated(config, f"{os.path.splitext(file.src_uri)[0]}.md", content=content))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Let links to notebooks lead to their pages, and add the tables of label spaces to theirs."""
    markdown = re.sub(r"\((notebooks/\w+)\.ipynb\)", r"(\1.md)", markdown)
    return "\n".join([markdown, *label_tables()]) if page.file.src_uri == LABEL_SPACES else markdown


def label_tables() -> Iterator[str]:
    """The classes of every label space that has a name."""
    from surgvos.core.label_tables import LABEL_SPACES as KNOWN

    for name, space in KNOWN.items():
        yield f"\n### {name}\n"
        unscored = "" if space.ignore is None else f", and {space.ignore} is not scored"
        yield f"{space.background} is nothing{unscored}.\n"
        yield "| id | class |\n|---|---|"
        yield from (f"| {label.id} | {label.name} |" for label in space.labels)


def command_reference() -> Iterator[str]:
    """Every command's help, as ``--help`` prints it."""
    from surgvos.cli.main import COMMANDS, load_command

    yield "# Commands\n"
    yield "What `--help` says of every command. Exit codes: 0 all done, 1 something failed, 2 wrong use or input.\n"
    for name in COMMANDS:
        command = load_command(name)
        yield from _section(f"surgvos {name}", command)
        for own, inner in getattr(command, "commands", {}).items():
            yield from _section(f"surgvos {name} {own}", inner, level=3)


def _section(name: str, command: click.Command, level: int = 2) -> Iterator[str]:
    context = click.Context(command, info_name=name, max_content_width=100, terminal_width=100)
    yield f"{'#' * level} {name.removeprefix('surgvos ')}\n"
    yield f"```text\n{command.get_help(context)}\n```\n"


def notebook_page(path: Path) -> Iterator[str]:
    """A notebook's text and code, and what the code prints and shows; it runs in an empty folder."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    names: dict[str, Any] = {"__name__": "__main__"}
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        for number, cell in enumerate(cells):
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                yield f"{source}\n"
                continue
            yield f"```python\n{source}\n```\n"
            printed, shown = _run(source, names, f"{path.name}, cell {number}")
            if printed:
                yield f"```text\n{printed}```\n"
            if shown is not None:
                yield f"{_picture(shown)}\n"
    yield f"The notebook itself: [{path.name}]({path.name})."


def _run(source: str, names: dict[str, Any], title: str) -> tuple[str, Any]:
    """Run a cell; what it prints, and the value of its last line where that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with redirect_stdout(io.StringIO()) as printed:
        exec(compile(tree, title, "exec"), names)
        shown = None if last is None else eval(compile(ast.Expression(last.value), title, "eval"), names)
    return printed.getvalue(), shown


def _picture(image: Any) -> str:
    """An image of Pillow's, inside the page."""
    content = io.BytesIO()
    image.save(content, format="jpeg", quality=85)
    return f"![What the cell shows](data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()})"
