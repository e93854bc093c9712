"""The commands that come before a fit, or need none: demo, init, simulate, variants, doctor."""

from pathlib import Path
from typing import Annotated

import typer

from pyro_popbias.cli.options import TABLE_FILE, Declared, Json, Overwrite
from pyro_popbias.cli.outputs import emit, refuse_input_as_output, say, tell


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the report, the figure and the tables.")] = Path("demo-run"),
    as_json: Json = False,
) -> None:
    """Fit simulated interactions, and compare with the truth.

    Simulates a catalogue of 300 items and 500 users, fits it with known and with learned affinities, says how well the true
    popularity is recovered, checks both fits, and writes a report and a picture. Takes a minute or two.

    Examples:
      popbias demo
      popbias demo --out my-demo
    """
    from pyro_popbias.cli.demo import run_demo

    say(run_demo(out), as_json=as_json)


def init(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where to write the study.")] = Path("study.toml"),
    table: Annotated[Path | None, typer.Option("--from", help=f"Interactions to look at, {TABLE_FILE}.")] = None,
    user: Annotated[str | None, typer.Option(help="Its column of users; found if left out.")] = None,
    item: Annotated[str | None, typer.Option(help="Its column of items, likewise.")] = None,
    label: Annotated[str | None, typer.Option(help="Its column of labels or ratings, likewise.")] = None,
    time: Annotated[str | None, typer.Option(help="Its column of times, likewise.")] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write a study file, for your own table with --from.

    With --from the table is looked at: which columns hold users, items, labels and times, what counts as a positive, how many
    periods its times allow, and which model goes with its kind of data. The study says in comments why each was chosen and
    what else there is. Without --from it is a template, every key at its default.

    Examples:
      popbias init --from ratings.csv
      popbias init --from clicks.parquet --user visitor --item sku -o clicks.toml
      popbias init
    """
    from pyro_popbias.cli.new_study import write_study

    refuse_input_as_output(output, table)
    columns = {"user": user, "item": item, "label": label, "time": time}
    say(write_study(output, table, columns, overwrite=overwrite), as_json=as_json)


def simulate(
    study: Declared,
    events: Annotated[Path, typer.Option(help="Where to write the interactions; fit them with --data.")],
    truth: Annotated[Path, typer.Option(help="Where to write the true popularity: item, period, z.")],
    users: Annotated[int, typer.Option(help="Number of users.")] = 1_000,
    items: Annotated[int, typer.Option(help="Number of items.")] = 500,
    interactions: Annotated[int, typer.Option(help="Number of interactions.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Seed of every random number.")] = 0,
    as_json: Json = False,
) -> None:
    """Simulate interactions from a study's model, with their truth.

    The rows have the study's names of columns, and labels that its rule reads, so that the same study fits them. Parameters
    that the study leaves to be learned have their defaults.

    Examples:
      popbias simulate study.toml --events events.csv --truth truth.csv
      popbias fit study.toml --data events.csv --out simulated
    """
    from pyro_popbias.cli.simulate_study import run_simulation

    refuse_input_as_output(events, study, truth)
    refuse_input_as_output(truth, study)
    sizes = {"users": users, "items": items, "interactions": interactions, "seed": seed}
    say(run_simulation(study, events, truth, sizes=sizes), as_json=as_json)


def variants(as_json: Json = False) -> None:
    """List which guides go with which models and priors.

    One row per model, prior and guide: whether they go together, whether KL(q || p) is analytic or sampled, how the intervention
    is integrated, and why some are refused.

    Examples:
      popbias variants
      popbias variants --json
    """
    from pyro_popbias.assembly.compatibility import variants as table

    emit(table(), None, as_json=as_json)


def doctor(as_json: Json = False) -> None:
    """Print versions, threads and device, and what is missing.

    Include its output in bug reports. Optional packages that are not installed are shown as missing.

    Examples:
      popbias doctor
      popbias doctor --json > environment.json
    """
    from pyro_popbias.cli.doctor import examine

    found = examine()
    tell([f"{name:14} {finding}" for name, finding in found.items()], found, as_json=as_json)
