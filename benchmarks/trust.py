"""The reliability scoreboard: what the package survives, in figures, one section a figure.

The whole takes hours; finished sections are kept in the folder `--out` and not measured again, so that a run that was
cut off goes on. `--quick` measures a small part of each in under three minutes.
"""

import importlib
import json
import pkgutil
import tempfile
import warnings
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import scoreboard
import typer
from scoreboard.section import Measured, Section
from turns import print_command

from pyro_popbias.errors import DataWarning

app = typer.Typer()


def sections() -> list[Section]:
    """Return the sections of all modules of `scoreboard`, in the order of their numbers."""
    names = [module.name for module in pkgutil.iter_modules(scoreboard.__path__) if module.name != "section"]
    found = [section for name in names for section in importlib.import_module(f"scoreboard.{name}").SECTIONS]
    return sorted(found, key=lambda section: section.number)


def read(section: Section, folder: Path) -> Measured:
    """Return a section's figure as an earlier run measured it."""
    path = folder / f"{section.number:02}" / "measured.json"
    if not path.exists():
        return Measured("not measured", False)
    found = json.loads(path.read_text(encoding="utf-8"))
    return Measured(found["value"], found["reached"], tuple(found["details"]))


def measured(section: Section, folder: Path, *, quick: bool) -> Measured:
    """Return a section's figure, from its folder where an earlier run measured it."""
    own = folder / f"{section.number:02}"
    own.mkdir(parents=True, exist_ok=True)
    path = own / "measured.json"
    if not path.exists():
        found = section.measure(own, quick)
        path.write_text(json.dumps(asdict(found)), encoding="utf-8")
    return read(section, folder)


def date_of(section: Section, folder: Path) -> str:
    """Return the day on which a section was measured; nothing if it was not."""
    path = folder / f"{section.number:02}" / "measured.json"
    return f"{datetime.fromtimestamp(path.stat().st_mtime, tz=UTC):%Y-%m-%d}" if path.exists() else ""


@app.command()
def main(
    out: Annotated[Path | None, typer.Option(help="Folder in which finished sections are kept.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Measure a small part of each section.")] = False,
    only: Annotated[str, typer.Option(help="Numbers of the sections to measure, as in 1,5,13.")] = "",
    kept: Annotated[
        bool, typer.Option("--kept", help="Print what earlier runs measured, and measure nothing.")
    ] = False,
) -> None:
    """Print the scoreboard; exit code 1 where a figure misses its target."""
    print_command()
    warnings.simplefilter("ignore", DataWarning)  # of small worlds
    chosen = [section for section in sections() if not only or str(section.number) in only.split(",")]
    with tempfile.TemporaryDirectory() as temporary:
        folder, missed = out or Path(temporary), []
        typer.echo("| # | figure | target | measured | reached | date |\n| --- | --- | --- | --- | --- | --- |")
        for section in chosen:
            found = read(section, folder) if kept else measured(section, folder, quick=quick)
            words = [section.number, section.name, section.target, found.value, "yes" if found.reached else "no"]
            typer.echo(f"| {' | '.join(map(str, [*words, date_of(section, folder)]))} |")
            missed += [] if found.reached else [f"{section.number}: {line}" for line in found.details or ("missed",)]
    typer.echo("\n".join(missed))
    raise typer.Exit(bool(missed))


if __name__ == "__main__":
    app()
