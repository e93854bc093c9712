"""All checks of a fit, and their verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pyro_popbias.checks.accuracy import accuracy
from pyro_popbias.checks.convergence import convergence
from pyro_popbias.checks.evidence import evidence
from pyro_popbias.checks.finding import Finding
from pyro_popbias.checks.identification import identification
from pyro_popbias.checks.overview import overview_of
from pyro_popbias.checks.posterior_predictive import Predictive
from pyro_popbias.checks.replicated_data import ReplicatedData
from pyro_popbias.checks.shared_numbers import shared_numbers
from pyro_popbias.checks.thresholds import counts_rows, findings_of
from pyro_popbias.errors import DataError
from pyro_popbias.trained import Trained
from pyro_popbias.validation import require_seed

CheckResult = tuple[Mapping[str, pd.DataFrame], Sequence[Finding]]


@dataclass(frozen=True, eq=False, repr=False)
class Check:
    """Results of the checks of a fit; `str` gives one line per finding and the verdict, `repr` the verdict and what fails.

    Attributes:
        findings: one per rule.
        tables: the numbers behind them, by name of the check: one row per statistic or cell.
    """

    findings: tuple[Finding, ...]
    tables: Mapping[str, pd.DataFrame]

    @property
    def failures(self) -> tuple[Finding, ...]:
        """Findings whose rule does not hold."""
        return tuple(finding for finding in self.findings if not finding.passed)

    @property
    def passed(self) -> bool:
        """Whether every rule holds or does not apply."""
        return not self.failures

    @property
    def verdict(self) -> str:
        """One line, how many rules do not hold, and which."""
        idle = sum(np.isnan(finding.value) for finding in self.findings)
        if self.passed:
            held = f"all {len(self.findings) - idle} rules hold" if idle < len(self.findings) else "no rule applies"
            return (
                f"{held}; {idle} {'does' if idle == 1 else 'do'} not apply" if 0 < idle < len(self.findings) else held
            )
        names = [f"{finding.check}: {finding.name}" for finding in self.failures]
        return f"{len(names)} of {len(self.findings)} rules {'does' if len(names) == 1 else 'do'} not hold ({'; '.join(names)})"

    def to_frame(self) -> pd.DataFrame:
        """Return one row per finding: check, name, value, bound, passed, words."""
        columns = ["check", "name", "value", "bound", "passed", "words"]
        return pd.DataFrame([vars(finding) for finding in self.findings], columns=columns)

    def __str__(self) -> str:
        lines = [
            f"{'ok   ' if finding.passed else 'FAILS'} {finding.check:14} {finding.words}" for finding in self.findings
        ]
        return "\n".join([*lines, self.verdict])

    def __repr__(self) -> str:
        return overview_of(self.findings, self.verdict).text()

    def _repr_html_(self) -> str:
        return overview_of(self.findings, self.verdict).html()


def check_predictive(fit: Trained, seed: int) -> CheckResult:
    """Return the predictive checks: labels replicated from q, from the population distribution and from the prior."""
    if fit.model.pairwise:
        words = (
            f"model {fit.study.model.name!r} compares a positive with a sampled negative: its scores are not probabilities, "
            "so there are no clicks to replicate"
        )
        return {}, [
            Finding(check, "replicates", np.nan, np.nan, True, words) for check in ("items", "population", "prior")
        ]
    events = fit.events
    assert events is not None  # noqa: S101  `check` refuses a fit without
    rows = ReplicatedData.of(events, fit.study, seed=seed, device=fit.guide.device)
    per_row = fit.study.model.latent == "interaction"
    tables = Predictive(fit.model, fit.guide, rows, per_row, seed).tables()
    counted, declared = counts_rows(fit.model), fit.study.model
    found = [findings_of(table, counted=counted, declared=declared) for table in tables.values()]
    return tables, [finding for each in found for finding in each]


def check_accuracy(fit: Trained, seed: int) -> CheckResult:
    """Return the distance of q from the exact posterior of each cell, given the distribution of affinities."""
    found = accuracy(fit, seed=seed)
    return {"accuracy": found.table}, found.findings()


def check_evidence(fit: Trained, _: int) -> CheckResult:
    """Return the exact log evidence, the ELBO and their gap, where every interaction has a popularity of its own."""
    table, findings = evidence(fit)
    return {"evidence": table} if len(table) else {}, findings


def check_convergence(fit: Trained, _: int) -> CheckResult:
    """Return whether q was stationary at the end of training."""
    return {}, convergence(fit)


def check_identification(fit: Trained, _: int) -> CheckResult:
    """Return whether popularity is anything but the like rate of items, as far as counts of rows could say."""
    table, finding = identification(fit)
    return {finding.check: table} if len(table) else {}, (finding, *shared_numbers(fit))


CHECKS: tuple[Callable[[Trained, int], CheckResult], ...] = (
    check_predictive,
    check_identification,
    check_accuracy,
    check_evidence,
    check_convergence,
)


def check(fit: Trained, *, seed: int = 0) -> Check:
    """Run all checks of a fit.

    Args:
        fit: the fit, with its interactions.
        seed: seed of every draw, an integer >= 0.

    Raises:
        DataError: the fit has no interactions, or they lack a column that the check needs.
        ConfigError: the seed is not an integer >= 0.
    """
    seed = require_seed(seed)
    if fit.events is None:
        raise DataError(
            f"PB-D140: {fit.unsaved}, so there are no labels to check it against; "
            f"{'bring the log back' if fit.absent else 'fit again without --no-data'}"
        )
    found = [each(fit, seed) for each in CHECKS]
    findings = tuple(finding for _, some in found for finding in some)
    return Check(findings, {name: table for tables, _ in found for name, table in tables.items()})
