"""Names with one typing error, over all names that the package declares, and what its messages suggest in their place."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import typer
from torch.distributions import constraints
from typer.testing import CliRunner

import pyro_popbias as pb
from pyro_popbias.cli.app import app
from pyro_popbias.data.frames import check_columns
from pyro_popbias.data.periods import require_period_by
from pyro_popbias.data.splits import SPLITS, require_split
from pyro_popbias.errors import PopBiasError
from pyro_popbias.evaluation.evaluate import CANDIDATES, require_candidates
from pyro_popbias.models import AFFINITIES, EXPOSURES, PRIORS, SATURATIONS
from pyro_popbias.prediction.intervention import MODES, read_popularity
from pyro_popbias.study.study import Study

LETTERS = "abcdefghijklmnopqrstuvwxyz"
COLUMNS = ("userId", "movieId", "rating", "timestamp", "item_id", "session", "clicked")


@dataclass(frozen=True)
class Names:
    """Names among which a message looks for the nearest.

    Attributes:
        of: what they name.
        known: the names.
        ask: gives a name to the package, and returns what it says.
    """

    of: str
    known: tuple[str, ...]
    ask: Callable[[str], str]


def refusal(call: Callable[[str], object], name: str) -> str:
    """Return the message of the error that a name brings."""
    try:
        call(name)
    except PopBiasError as error:
        return str(error)
    return ""


def key_of(path: tuple[str, ...], given: dict[str, Any], key: str) -> Study:
    """Return the study of a section with a key of any name."""
    section: dict[str, Any] = given | {key: 1}
    for name in reversed(path):
        section = {name: section}
    return Study.model_validate(section)


def declared() -> Iterator[Names]:
    """Yield all groups of names."""
    registries = {"model": pb.MODELS, "guide": pb.GUIDES, "affinity": AFFINITIES, "prior": PRIORS}
    registries |= {"saturation": SATURATIONS, "exposure": EXPOSURES}
    for kind, registry in registries.items():
        yield Names(kind, tuple(registry), partial(refusal, registry.__getitem__))
        path = ("model", kind)
        for name in registry if kind not in ("model", "guide") else ():
            keys = tuple(registry[name].config.model_fields)
            yield Names(f"[model.{kind}] of {name}", keys, partial(refusal, partial(key_of, path, {"name": name})))
    sections = tuple(name for name, field in Study.model_fields.items() if field.alias is None)
    yield Names("sections", sections, partial(refusal, partial(key_of, (), {})))
    for name in sections:
        keys = tuple(Study.model_fields[name].annotation.model_fields)
        yield Names(f"[{name}]", keys, partial(refusal, partial(key_of, (name,), {})))
    frame = pd.DataFrame(columns=list(COLUMNS))
    yield Names("columns", COLUMNS, partial(refusal, lambda name: check_columns(frame, [name])))
    yield Names("splits", SPLITS, partial(refusal, partial(require_split, has_time=True)))
    yield Names("period_by", ("time", "count"), partial(refusal, require_period_by))
    yield Names("candidates", CANDIDATES, partial(refusal, require_candidates))
    yield Names("popularity", MODES, partial(refusal, partial(read_popularity, support=constraints.positive)))
    yield from commands()


def commands() -> Iterator[Names]:
    """Yield the commands of `popbias`, and the options of each."""
    runner = CliRunner()
    known = typer.main.get_command(app).commands
    yield Names("commands", tuple(known), lambda name: runner.invoke(app, [name]).output)
    for command, found in known.items():
        options = tuple(name[2:] for each in found.params for name in each.opts if name.startswith("--"))
        if options:
            yield Names(
                f"popbias {command}",
                options,
                lambda name, command=command: runner.invoke(app, [command, f"--{name}"]).output.replace("--", ""),
            )


def misspelt(name: str, random: np.random.Generator) -> str:
    """Return a name with one letter left out, put in, replaced, or exchanged with the next."""
    place, letter = int(random.integers(len(name))), LETTERS[random.integers(len(LETTERS))]
    kind = random.integers(4)
    if kind == 0:
        return name[:place] + name[place + 1 :]
    if kind == 1:
        return name[:place] + letter + name[place:]
    if kind == 2:
        return name[:place] + letter + name[place + 1 :]
    return name[:place] + name[place + 1 : place + 2] + name[place : place + 1] + name[place + 2 :]


def suggested(message: str) -> set[str]:
    """Return the names that a message suggests."""
    found = re.search(r"[Dd]id you mean (?P<one>.+?)\?|Possible options: (?P<some>[^)]+)\)", message)
    return set() if found is None else {name.strip(" '") for name in (found["one"] or found["some"]).split(",")}


def near_misses(number: int, seed: int = 0) -> dict[str, bool]:
    """Return whether the name that was meant is suggested for each of some misspelt names, by what was given and meant.

    Args:
        number: of names, the same share of each group.
        seed: decides them.
    """
    random, groups = np.random.default_rng(seed), list(declared())
    found: dict[str, bool] = {}
    while len(found) < number:
        group = groups[len(found) % len(groups)]
        name = group.known[random.integers(len(group.known))]
        typo = misspelt(name, random)
        if typo and typo not in group.known and f"{group.of}: {typo} for {name}" not in found:
            found[f"{group.of}: {typo} for {name}"] = name in suggested(group.ask(typo))
    return found
