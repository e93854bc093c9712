"""`popbias init`: a commented study file, from the template, or for a table with its columns and what goes with its data."""

import os
import textwrap
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import tomli_w

from pyro_popbias.cli.outputs import Said
from pyro_popbias.data.atomic_files import write_atomically
from pyro_popbias.errors import ConfigError, RunFolderError

if TYPE_CHECKING:
    from pyro_popbias.cli.propose import Proposal
    from pyro_popbias.cli.propose_periods import Periods
    from pyro_popbias.data.column_roles import Columns

WIDTH = 118  # of lines of comments
SHOWN = 10  # columns that are not used
HEAD = """\
# A study of pyro-popbias for one file: [data], and in [model] what goes with its kind of data, are proposed for it; every
# other key has the default shown.
"""
RULE = "On a scale up to 5 that means 4 or more; on any other, the cut-off that makes closest to 40 % of rows positive."
NEGATIVES = """\
# There is no label: every row is a positive, and negatives are sampled for it. With the models additive and inverse-logistic
# they can be drawn as often as they are positives, negative_sampling = "popularity": labels then say more about taste.
negatives = 4
"""
VECTORS = 'affinity = { name = "embedding", dim = 32, scale = "learned", posterior = "mean-field", user_bias = true }'
POINTS = 'affinity = { name = "embedding", dim = 128, scale = 0.7, posterior = "point", user_bias = false }'
PRODUCT = """\
name = "product"              # P(c=1 | u,i,z) = sigma(x_ui) g(z); or additive, inverse-logistic, pda
"""
MODELS = {
    "product": PRODUCT,
    "inverse-logistic": """\
name = "inverse-logistic"     # P(c=1 | u,i,z) = sigma(x_ui + log z); or product, sigma(x_ui) g(z), additive, pda
""",
}
GAMMA = 'prior = { name = "gamma", source = "learned" }      # or lognormal, weibull, exponential; normal for additive'
WALK = """\
# popularity goes from period to period by steps whose size is learned, and the guide markov joins periods. Where an item is not
# the same from one to the next, as with seasons, take independent ones: prior = { name = "gamma" }, and the guide gamma
prior = { name = "lognormal", drift = "random-walk" }"""
FEATURES = """\
# user_features = "users.csv"   # side features: the first column is the id, the rest numbers or text
# item_features = "items.csv"
"""


def write_study(
    output: Path, source: Path | None, columns: Mapping[str, str | None], *, overwrite: bool = False
) -> Said:
    """Write a study to start from; yield lines to print, and return what they say.

    Args:
        output: the study file.
        source: the table that the study is for; None writes the template.
        columns: columns of the table by role; None is guessed.
        overwrite: whether the study file may exist; else it must not.

    Raises:
        RunFolderError: the output exists or cannot be written, or the table cannot be read.
        DataError: a column cannot be found, or the table cannot be used as it is.
        ConfigError: columns are given without a table.
    """
    replaceable = not output.is_dir() and output.suffix == ".toml"  # no table is taken for a study
    if output.exists() and not (overwrite and replaceable):
        remedy = ", remove it, or replace it with --overwrite" if replaceable else ""
        raise RunFolderError(f"PB-R101: {output} exists; choose another name{remedy}")
    template = (files("pyro_popbias.cli") / "study_template.toml").read_text(encoding="utf-8")
    if source is None:
        if given := [f"--{role}" for role, name in columns.items() if name is not None]:
            raise ConfigError(f"PB-C395: {', '.join(given)} names a column of a table; give the table as --from FILE")
        write_atomically(output, template.encode())
        yield f"wrote {output}; name your file and columns in [data], then run: popbias fit {output} --out run"
        return {"study": output, "proposal": None}
    from pyro_popbias.cli.propose import propose

    proposal = propose(source, columns)
    yield from proposal.lines()
    write_atomically(output, proposed_text(template, proposal, output).encode())
    yield f"wrote {output}; look through it, then run: popbias fit {output} --out run --plot popularity.png"
    return {"study": output, "proposal": proposal.record()}


def proposed_text(template: str, proposal: "Proposal", output: Path) -> str:
    """Return the template with the file, the columns and the parts of a proposal.

    Args:
        template: what `popbias init` writes without a table.
        proposal: for a table.
        output: where the study will be; the path in it is relative to its folder.
    """
    _, data, rest = template.partition("[data]\n")
    _, model, rest = rest.partition("[model]\n")
    text = f"{HEAD}schema = 1\n\n{data}{_data_lines(proposal, output)}\n{model}{rest}"
    kind = proposal.kind
    text = text.replace(PRODUCT, MODELS[kind.model], 1)
    if proposal.periods.number > 1:
        text = text.replace(GAMMA, WALK, 1).replace('name = "gamma"  ', 'name = "markov" ', 1)
    if proposal.events.label is None:
        text = text.replace(VECTORS, POINTS, 1).replace('schedule = "constant"', 'schedule = "linear"', 1)
    elif kind.quality:
        text = text.replace("user_bias = true }", "user_bias = true, item_quality = true }", 1)
    why = _comment(f"Here {kind.name}. {kind.why}" if proposal.events.label is not None else kind.why)
    return text.replace('exposure = "auto"\n', f'{why}exposure = "{kind.exposure}"\n', 1)


def _comment(text: str) -> str:
    """Return a text as lines of comment."""
    return "".join(f"# {line}\n" for line in textwrap.wrap(text, WIDTH))


def _data_lines(proposal: "Proposal", output: Path) -> str:
    """Return the keys of `[data]`."""
    columns, events = proposal.columns, proposal.events
    whole = proposal.path.parent.resolve() / proposal.path.name
    path = os.path.relpath(whole, output.parent.resolve()) if not proposal.path.is_absolute() else str(whole)
    text = _keys(path=path) + _how(columns, "user") + _how(columns, "item")
    if columns.label is not None:
        text += _how(columns, "label", "Without it every row would be a positive.")
    else:
        text += NEGATIVES
    if proposal.rule is not None and events.label is not None:
        text += _comment(
            f"What is a positive, {events.label.mean():.1%} of the rows. {RULE} Change it to what a like is for you."
        )
        text += _keys(positive_if=proposal.rule)
    if columns.time is not None:
        text += _how(columns, "time")
    return text + _period_lines(proposal.periods) + FEATURES


def _how(columns: "Columns", role: str, besides: str = "") -> str:
    """Return the key of a role, below a comment that says how its column was found."""
    name = getattr(columns, role)
    shown = ", ".join(tomli_w.dumps({"": other}).partition(" = ")[2].strip() for other in columns.others[:SHOWN])
    others = f" Columns that are not used: {shown}." if role == "item" and columns.others else ""
    how = columns.found[role]
    text = f"{role}: {how}. {besides}{others}"
    return _comment(text.replace("  ", " ").strip()) + _keys(**{role: name})


def _period_lines(periods: "Periods") -> str:
    """Return the keys of periods, below a comment that says why."""
    more = (
        " periods = 1 takes popularity for constant."
        if periods.number > 1
        else " With periods = 6, say, and times, each slice of the log has its own popularity."
    )
    return _comment(periods.why + more) + (
        f"periods = {periods.number}\n"
        f'period_by = "{periods.by}"            # slices of equal length ("time"), or of equally many rows ("count")\n'
    )


def _keys(**values: str) -> str:
    return tomli_w.dumps(values)
