"""What a table of interactions is, ratings, labels or positives only, and which parts of a model go with it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pyro_popbias.assembly.identification import OVERDISPERSED, excess_variation
from pyro_popbias.cli.outputs import Record
from pyro_popbias.cli.propose_periods import Periods, propose_periods
from pyro_popbias.data.column_roles import CONTENT, Columns
from pyro_popbias.data.frames import as_times
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.labels import as_numbers
from pyro_popbias.data.readers import read_interactions
from pyro_popbias.data.table_files import read_table
from pyro_popbias.errors import DataError

SHARE = 0.4  # of rows that a rule should make positive, on a scale that is not of five


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Attributes:
        name: what it is called.
        exposure: the exposure part that goes with it.
        quality: whether items have a quality.
        model: the model that goes with it.
        why: the reason, for the study and its reader.
    """

    name: str
    exposure: str
    quality: bool
    model: str
    why: str


UNEQUAL = Kind(
    "items are logged unequally often",
    "negative-binomial",
    quality=True,
    model="inverse-logistic",
    why=(
        "The number of rows of an item, whatever their labels, is taken as its exposure: it says how popular the item is, and "
        "the labels then say how good, which is its quality. P(c=1 | do(u,i)) takes popularity out and keeps quality. In the "
        "product model no probability of an item with few rows could exceed its g(z)."
    ),
)
EQUAL = Kind(
    "items are logged about equally often, as where they are shown at random",
    "none",
    quality=False,
    model="product",
    why=(
        "Counts say nothing about popularity here, so that it cannot be told apart from quality: z is the like rate of an item. "
        "If rows of another log say how popular items are, count them by source = 'counts' in the prior, and set item_quality "
        "= true in the affinity; if not, rank with popularity = 'posterior' where items should keep their like rates."
    ),
)
POSITIVES = Kind(
    "positives only",
    "none",
    quality=False,
    model="inverse-logistic",
    why=(
        "The number of positives of an item is in the likelihood already, so that counts are no further evidence: there is no "
        "exposure part. Negatives are sampled for each positive; popularity and quality of an item are one number. "
        "Long point vectors rank such logs best; mean-field ones would give scores intervals."
    ),
)


@dataclass(frozen=True)
class Proposal:
    """A table, and what is proposed for it.

    Attributes:
        path: the file.
        columns: what its columns are; `label` is None where labels are left out.
        events: its interactions.
        rule: what makes a rating a positive; None where labels are 0 and 1, or left out.
        labels: what the labels are, in words.
        kind: the kind of data.
        periods: the slices of its times.
    """

    path: Path
    columns: Columns
    events: Interactions
    rule: str | None
    labels: str
    kind: Kind
    periods: Periods

    def lines(self) -> Iterator[str]:
        """Yield what was found, and why the proposal is what it is."""
        events, columns = self.events, self.columns
        when = "no times" if columns.time is None else f"times ({columns.time!r})"
        yield (
            f"{self.path}: {len(events)} rows, {len(events.users)} users ({columns.user!r}), {len(events.items)} items "
            f"({columns.item!r}), {when}"
        )
        guessed = [
            f"{name!r} for {role}s" for role, name in self._roles().items() if columns.found.get(role) == CONTENT
        ]
        if guessed:
            why = "guessed from their contents, because their names do not say"
            yield f"{why}: {', '.join(guessed)}; if that is wrong, give --user, --item ..."
        yield f"labels: {self.labels}"
        spread = max(excess_variation(events), 0.0)
        counts = f"counts of items spread by {spread:.2f} beyond Poisson's, evidence from {OVERDISPERSED} on"
        yield f"kind of data: {self.kind.name}{'' if self.kind is POSITIVES else f' ({counts})'}"
        kind = self.kind
        yield f"proposed: {kind.model}, exposure = {kind.exposure!r}, item_quality = {str(kind.quality).lower()}"
        yield self.kind.why
        if columns.time is not None:
            yield f"periods: {self.periods.why}"
        if columns.others:
            could = "; if one of them holds labels, give it as --label" if columns.label is None else ""
            yield f"columns not used: {', '.join(map(repr, columns.others))}{could}"

    def _roles(self) -> dict[str, str]:
        """Return the column of each role that has one."""
        roles = ("user", "item", "label", "time")
        return {role: name for role in roles if (name := getattr(self.columns, role)) is not None}

    def record(self) -> Record:
        """Return what was found, and what is proposed."""
        events, kind, roles = self.events, self.kind, self._roles()
        return {
            "data": self.path,
            "rows": len(events),
            "users": len(events.users),
            "items": len(events.items),
            "columns": roles,
            "found": {role: self.columns.found.get(role) for role in roles},
            "unused_columns": self.columns.others,
            "kind": kind.name,
            "positive_if": self.rule,
            "positive_share": None if events.label is None else float(events.label.mean()),
            "model": kind.model,
            "exposure": kind.exposure,
            "item_quality": kind.quality,
            "periods": self.periods.number,
            "period_by": self.periods.by,
            "why": [kind.why, self.periods.why],
        }


def propose(path: Path, given: Mapping[str, str | None]) -> Proposal:
    """Return what is proposed for a table.

    Args:
        path: a .csv, .csv.gz or .parquet file.
        given: its columns by role, "user", "item", "label" and "time"; None is guessed.

    Raises:
        DataError: a column cannot be found, or the table cannot be used as it is.
        RunFolderError: there is no such file.
        ConfigError: its ending is not read.
    """
    frame = read_table(path)
    columns = Columns.of(frame, given, str(path))
    rule, labels = None, "no column of labels was found; if there is one, give it as --label COLUMN"
    if (label := columns.label) is not None and len(frame):
        try:
            numbers = as_numbers(frame[label], label)
        except DataError as error:
            raise DataError(f"{error} (in {path})") from None
        columns, rule, labels = _read_labels(columns, numbers, path)
    events = read_interactions(
        path, user=columns.user, item=columns.item, label=columns.label, positive_if=rule, time=columns.time
    )
    if events.label is not None:
        labels += f"; {events.label.mean():.1%} of rows are positive"
    times = None if columns.time is None else as_times(frame[columns.time], columns.time)
    return Proposal(path, columns, events, rule, labels, _kind_of(events), propose_periods(times, len(events.items)))


def _read_labels(columns: Columns, numbers: np.ndarray, path: Path) -> tuple[Columns, str | None, str]:
    """Return the columns, without labels that tell nothing apart, the rule for positives, and what labels are in words."""
    values = np.unique(numbers[np.isfinite(numbers)])
    if not values.any():
        raise DataError(
            f"PB-D396: column {columns.label!r} has no label but 0 (in {path}); give one that has both classes"
        )
    if len(values) == 1:
        without = replace(columns, label=None)
        return without, None, f"{columns.label!r} is {_text(values[0])} in all rows, and is left out"
    rule = rule_of(numbers)
    if rule is None:
        return columns, None, f"{columns.label!r} is 0 or 1"
    scale = f"{columns.label!r} has {len(values)} values from {_text(values[0])} to {_text(values[-1])}"
    return columns, rule, f"{scale}, positive_if = {rule!r}"


def rule_of(numbers: np.ndarray) -> str | None:
    """Return what makes a rating a positive; None where all are 0 or 1 already.

    On a scale up to 5 that is 4 or more. On any other it is the value from which on the share of positives is nearest to
    two fifths, the least value aside.

    Args:
        numbers: `(N,)`, of two finite values or more.
    """
    numbers = np.sort(numbers[np.isfinite(numbers)])
    values = np.unique(numbers)
    if set(values) <= {0.0, 1.0}:
        return None
    if values[-1] == 5 and values[0] < 4:
        return ">=4"
    share = 1 - np.searchsorted(numbers, values[1:]) / len(numbers)
    return f">={_text(values[1:][np.abs(share - SHARE).argmin()])}"


def _text(number: float) -> str:
    return np.format_float_positional(number, trim="-")


def _kind_of(events: Interactions) -> Kind:
    """Return the kind of some interactions."""
    if events.label is None:
        return POSITIVES
    return UNEQUAL if excess_variation(events) >= OVERDISPERSED else EQUAL
