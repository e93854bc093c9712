"""Fits side by side: one row per fit, the best held-out log-score first.

| column | unit | meaning |
| --- | --- | --- |
| name | | the caller's |
| model, prior, guide | | of the study |
| log_score | nats per row | mean log-probability of held-out labels, or of a test's, with popularity from q; higher is better |
| calibration_error | probability | distance between click rate and probability, mean over ten bins of these rows |
| elbo | nats | of the last epoch; only where all fits share model, prior and data: elsewhere ELBOs are not comparable |
| kl | nats | mean exact KL of q to the posterior of a cell (item and period); NaN where there is none |
| seconds | s | of training |
| memory | MiB | of parameters |
| recall@20, ndcg@20, ... | | on a test: as `Fit.evaluate`, under `popularity` |
| ndcg@20_difference, ... | | from the first fit, with `_lower` and `_upper` of a paired bootstrap over users |
| note | | why a number is missing, or how far it can be compared |

`kl` is the figure of `Fit.check`: given the affinities, and over cells with 20 training rows or more.

Rows of a test are scored under q of their own period: their times are placed between the period edges of the fit, and
times before the first or after the last edge belong to the nearest period.
"""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from pyro_popbias.assembly.tables import rows_like
from pyro_popbias.assembly.training_data import given_score
from pyro_popbias.checks.accuracy import accuracy
from pyro_popbias.checks.posterior_predictive import Predictive
from pyro_popbias.checks.replicated_data import ReplicatedData
from pyro_popbias.data.atomic_files import sha256
from pyro_popbias.data.frames import Table
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import ConfigError, DataError, DataWarning
from pyro_popbias.evaluation.comparison_table import ComparisonTable
from pyro_popbias.evaluation.evaluate import lengths_of, require_candidates
from pyro_popbias.evaluation.paired import Draws, differences_of_draws
from pyro_popbias.evaluation.trained_rows import refuse_trained, trained_rows
from pyro_popbias.prediction.intervention import Mode
from pyro_popbias.prediction.pairs import Pairs, log_probability
from pyro_popbias.prediction.posterior_tables import check_interval
from pyro_popbias.prediction.scorer import Scorer
from pyro_popbias.storage.packed import Packed
from pyro_popbias.trained import Trained
from pyro_popbias.training.workers import at_once, one_thread, require_jobs, side_by_side

UNITS = "log_score in nats per row, elbo and kl in nats, seconds in s, memory of parameters in MiB"
METRICS = ("recall@20", "ndcg@20")
BINS = 10
MEBIBYTE = 1024**2


def compare(
    fits: Mapping[str, Trained],
    test: Interactions | Table | None = None,
    *,
    metrics: Sequence[str] = METRICS,
    popularity: str | float | Mapping[Any, float] = "population",
    candidates: str = "all",
    interval: float = 0.9,
    jobs: int | None = None,
) -> pd.DataFrame:
    """Return one row per fit, the highest log_score first; see the module for its columns and their units.

    Args:
        fits: fits by name.
        test: rows that no fit was trained on, a table of them being read by the first fit's study; each fit's own held-out rows,
            by their log-score alone, if omitted.
        metrics: of `Fit.evaluate` on the test, with their differences from the first fit; none compares log-scores only.
        popularity: of the metrics, as in `Fit.predict`.
        candidates: of the metrics, as in `Fit.evaluate`.
        interval: probability between lower and upper of a difference.
        jobs: how many fits are judged at once, each by a process with one thread: the result is the same for any number.
            None judges one after another with all threads of this process.

    Raises:
        ConfigError: there are no fits, the test has no labels and no metrics are asked for, or there is no such metric.
        DataError: the test lacks the score column of a fit, or was trained on for the most part.
    """
    if not isinstance(fits, Mapping) or not fits or not all(isinstance(fit, Trained) for fit in fits.values()):
        raise ConfigError("PB-C161: compare takes a mapping from names to fits, with one fit or more")
    test = None if test is None else rows_like(test, next(iter(fits.values())).study)
    if test is not None and test.label is None and not metrics:
        raise ConfigError("PB-C162: the test has no labels, so there is nothing to score; read it with label=")
    if test is not None and metrics:
        _refuse(fits, test, popularity, candidates)
    answers = _answers(fits, _Asked(test, tuple(metrics), popularity, candidates), jobs)
    table = pd.DataFrame([row for row, _ in answers])
    if len({_objective_key(fit) for fit in fits.values()}) > 1:
        table["elbo"] = np.nan
        table["note"] = [_joined(note, "no ELBO: models, priors or data differ") for note in table["note"]]
    if test is None and len({_rows_key(fit) for fit in fits.values()}) > 1:
        table["note"] = [_joined(note, "held-out rows differ between fits") for note in table["note"]]
    if test is not None and metrics:
        judged = {name: draws for name, (_, draws) in zip(fits, answers, strict=True)}
        table = _with_metrics(table, judged, check_interval(interval))
    ranked = [metric for metric in metrics if metric in table]
    by = ranked[0] if ranked and table["log_score"].isna().all() else "log_score"
    return ComparisonTable(table.sort_values(by, ascending=False, kind="stable", ignore_index=True))


def _refuse(fits: Mapping[str, Trained], test: Interactions, popularity: object, candidates: str) -> None:
    """Refuse what no fit could answer; what one of them cannot do is noted.

    Raises:
        ConfigError: there is no such mode, or choice of candidates.
        DataError: a fit was trained on the test for the most part.
    """
    require_candidates(candidates)
    for name, fit in fits.items():
        fit.scorer(popularity)
        if fit.events is not None:
            refuse_trained(trained_rows(test, fit.events), whose=repr(name))


@dataclass(frozen=True, eq=False)
class _Asked:
    """What a comparison asks of each fit."""

    test: Interactions | None
    metrics: tuple[str, ...]
    popularity: object
    candidates: str

    def of(self, fit: Trained, name: str) -> tuple[dict[str, Any], Draws | Exception | None]:
        """Return the row of a fit, and its metrics on the test or why it has none."""
        row = {"name": name, **_of_fit(fit, self.test)}
        if self.test is None or not self.metrics:
            return row, None
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DataWarning)  # the note says so
                judged = fit.judge(self.test, lengths_of(self.metrics), self.popularity, self.candidates)
        except (ConfigError, DataError) as error:
            return row, error
        return row, Draws.of(judged, self.metrics, name=name)


def _answers(
    fits: Mapping[str, Trained], asked: _Asked, jobs: int | None
) -> list[tuple[dict[str, Any], Draws | Exception | None]]:
    """Return what each fit answers, here or from other processes."""
    with_all = require_jobs(jobs) is None
    if with_all or at_once(jobs, len(fits)) == 1:
        with nullcontext() if with_all else one_thread():
            return [asked.of(fit, name) for name, fit in fits.items()]
    pieces = {
        f"fit {name!r}": (name, asked, Packed.of(fit), fit.catalogue, fit.events, fit.earlier)
        for name, fit in fits.items()
    }
    return side_by_side(_in_worker, pieces, at_once(jobs, len(pieces)), what="fits")


def _in_worker(
    name: str, asked: _Asked, packed: Packed, *known: Any
) -> tuple[dict[str, Any], Draws | Exception | None]:
    return asked.of(packed.unpacked(*known), name)


def _with_metrics(table: pd.DataFrame, judged: Mapping[str, Draws | Exception | None], interval: float) -> pd.DataFrame:
    """Return the table with the metrics of a test beside it; the note says why there are none."""
    draws = {name: each for name, each in judged.items() if isinstance(each, Draws)}
    errors = [each for each in judged.values() if isinstance(each, Exception)]
    if errors:
        return table.assign(note=[_joined(note, str(errors[0])) for note in table["note"]])
    beside = differences_of_draws(draws, interval=interval)
    notes = [_joined(note, *draws[name].notes) for name, note in zip(table["name"], table["note"], strict=True)]
    return pd.concat([table.drop(columns="note"), beside.reset_index(drop=True)], axis=1).assign(note=notes)


def _of_fit(fit: Trained, test: Interactions | None) -> dict[str, Any]:
    section = fit.study
    scored, reason = _scores(fit, test)
    divergence, missing = np.nan, ""
    if fit.events is not None:
        found = accuracy(fit)
        divergence, missing = found.mean_kl, found.no_kl
    tensors = [*fit.model.parameters(), *fit.guide.parameters()]
    return {
        "model": section.model.name,
        "prior": section.model.prior.name,
        "guide": section.guide.name,
        **scored,
        "elbo": float(fit.history["elbo"].iloc[-1]),
        "kl": divergence,
        "seconds": float(fit.history["seconds"].sum()),
        "memory": sum(tensor.numel() * tensor.element_size() for tensor in tensors) / MEBIBYTE,
        "note": _joined(reason, missing and f"no exact KL: {missing}"),
    }


def _scores(fit: Trained, test: Interactions | None) -> tuple[dict[str, float], str]:
    """Return log-score and calibration error, and why they are missing, or what to know of them."""
    nothing, note = {"log_score": np.nan, "calibration_error": np.nan}, ""
    if fit.model.pairwise:
        return nothing, "its scores are not probabilities"
    if test is not None and test.label is None:
        return nothing, "the test has no labels"
    if test is not None:
        label = np.asarray(test.label, dtype=float)
        of_label, found, note = _of_test(fit, test, label)
    elif fit.events is None:
        return nothing, "saved without its interactions"
    else:
        rows = ReplicatedData.of(fit.events, fit.study, seed=0, device=fit.guide.device)
        if rows.scored.all():
            return nothing, "no rows were held out"
        per_row = fit.study.model.latent == "interaction"
        predictive = Predictive(fit.model, fit.guide, rows, per_row)
        found, label = predictive.probability()[rows.scored], rows.label[rows.scored]
        of_label = predictive.log_probability(rows.label)[rows.scored]
    scored = {"log_score": float(of_label.mean()), "calibration_error": calibration_error(found, label)}
    if broken := int(np.isnan(of_label).sum()):
        note = _joined(
            note, f"the log-score of {broken} of {len(label)} rows is not a number, which counts as the worst"
        )
    return scored, note


def _of_test(fit: Trained, test: Interactions, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, str]:
    """Return log P of each test row's label and P(c=1), `(N,)`, under q of its own period, and what to know of them."""
    catalogue, notes, period = fit.catalogue, [], None
    frame = pd.DataFrame({"user": test.users[test.user], "item": test.items[test.item]})
    pairs = Pairs.from_frame(frame, catalogue, unseen="prior")
    unseen = int(((pairs.user < 0) | (pairs.item < 0)).sum())
    if unseen:
        notes.append(f"{unseen} of {len(frame)} rows of the test have unseen ids")
    trained = 0 if fit.events is None else int(trained_rows(test, fit.events).sum())
    if trained:
        notes.append(f"{trained} of {len(frame)} rows of the test were trained on, and count in log_score")
    if catalogue.periods > 1 and test.time is not None:
        period = replace(test, periods=catalogue.periods, edges=catalogue.edges).period
    elif catalogue.periods > 1:
        notes.append("the test has no times: rows are scored in their item's last period with rows")
    # a row's own popularity has no q: it comes from the prior, as for held-out rows
    popularity: Mode = "prior" if fit.study.model.latent == "interaction" else "posterior"
    scorer = Scorer(fit.model, fit.guide, catalogue, popularity, 0.9)
    score = given_score(test.columns, fit.study)
    of_label, of_one = (
        log_probability(scorer, pairs, each, score=score, period=period) for each in (label, np.ones_like(label))
    )
    return of_label, np.exp(of_one), _joined(*notes)


def calibration_error(probability: np.ndarray, label: np.ndarray) -> float:
    """Return the mean distance between click rate and mean probability, over ten bins equal in rows."""
    order = np.argsort(probability, kind="stable")
    bins = [part for part in np.array_split(order, BINS) if len(part)]
    distance = [abs(label[part].mean() - probability[part].mean()) * len(part) for part in bins]
    return float(np.sum(distance) / len(probability))


def _rows_key(fit: Trained) -> tuple[Any, ...]:
    """Return what decides which rows are held out; of a run without interactions, its ids and counts stand for them."""
    training, catalogue, events = fit.study.training, fit.catalogue, fit.events
    columns = [catalogue.count, catalogue.positives]
    if events is not None:
        columns += [column for column in (events.user, events.item, events.label, events.time) if column is not None]
    ids = "\0".join([*catalogue.users, "", *catalogue.items]).encode()
    rows = sha256(ids + b"".join(np.ascontiguousarray(column).tobytes() for column in columns))
    return training.seed, training.validation, fit.study.data.negatives, events is None, rows


def _objective_key(fit: Trained) -> tuple[Any, ...]:
    """Return what an ELBO is of: the model, its prior and given numbers, and the rows."""
    model = fit.study.model
    vectors = {"user_vectors", "item_vectors"}
    parts = model.model_dump_json(exclude={"affinity", "prior"}), model.affinity.model_dump_json(exclude=vectors)
    given = [
        buffer.cpu().numpy().tobytes() for part in (fit.model.affinity, fit.model.prior) for buffer in part.buffers()
    ]
    return *parts, model.prior.model_dump_json(exclude={"counts"}), sha256(b"".join(given)), *_rows_key(fit)


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
