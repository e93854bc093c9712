"""How a command joins the command line: its help is its docstring, of a line, a paragraph and examples."""

import inspect
from collections.abc import Callable

import typer

EXAMPLES = "\n\nExamples:\n"


def help_of(text: str) -> str:
    """Return a docstring as help in which examples keep their lines."""
    said, _, examples = inspect.cleandoc(text).partition(EXAMPLES)
    return f"{said}\n\n\b\nExamples:\n{examples}" if examples else said


def register(app: typer.Typer, command: Callable[..., None]) -> None:
    """Add a command under the name of its function, with its first line in the list of commands."""
    text = command.__doc__ or ""
    app.command(help=help_of(text), short_help=text.partition("\n")[0])(command)
