"""A fit at a glance: what was fitted, on what, how well, what its last checks said, and what to do next."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from pyro_popbias.assembly.identification import REMEDY, why_unidentified
from pyro_popbias.checks.check import Check
from pyro_popbias.data.overview import Folded, Overview, Point
from pyro_popbias.models.affinities.embedding_config import EmbeddingAffinityConfig
from pyro_popbias.prediction.posterior_tables import kind_of_interval
from pyro_popbias.study.sections import ModelConfig
from pyro_popbias.trained import Trained


def overview_of(fit: Trained, checked: Check | None) -> Overview:
    """Return a fit at a glance; nothing is computed but counts.

    Args:
        fit: the fit.
        checked: its last checks; None where there were none.
    """
    study = fit.study
    rows = [
        Point(_parts(study.model), name="model"),
        Point(_data(fit), name="data"),
        Point(_held_out(fit), name="held out"),
    ]
    rows += [Point(_training(fit), name="training"), _checks(fit, checked)]
    remedy = []
    if reason := why_unidentified(study):
        rows.append(Point(reason, "bad", name="warning"))
        remedy = [Folded("What to do about the warning", points=[Point(f"{REMEDY[0].upper()}{REMEDY[1:]}.")])]
    return Overview(
        f"Fit: {study.model.name} with guide {study.guide.name}",
        rows=rows,
        next_steps=list(_next(fit, checked)),
        folded=[
            *remedy,
            Folded("What its intervals include", points=[Point(kind_of_interval(fit.model, fit.study.data.negatives))]),
            Folded("Its study", text=study.with_names_of_files().to_toml()),
        ],
    )


def _parts(model: ModelConfig) -> str:
    """Return the parts of a model in words."""
    affinity = model.affinity
    dim = f" of up to {affinity.dim} dimensions" if isinstance(affinity, EmbeddingAffinityConfig) else ""
    options = [name.replace("_", " ") for name in ("user_bias", "item_quality") if getattr(affinity, name, False)]
    with_options = f" with {' and '.join(options)}" if options else ""
    counts = "" if isinstance(model.exposure, str) else f", {model.exposure.name} counts of rows"
    return f"{model.prior.name} prior, {affinity.name} affinity{dim}{with_options}{counts}"


def _data(fit: Trained) -> str:
    """Return how much there was, and which share of it is positive."""
    catalogue, number = fit.catalogue, fit.study.data.negatives
    rows, positives = int(catalogue.count.sum()), int(catalogue.positives.sum())
    kind = (
        f"positives only, {number} negative{'s' if number != 1 else ''} sampled for each"
        if number
        else f"{positives / max(rows, 1):.1%} positive"
    )
    periods = f", {catalogue.periods} periods" if catalogue.periods > 1 else ""
    users, items = len(catalogue.users), len(catalogue.items)
    return f"{rows:,} rows ({kind}), {users:,} users, {items:,} items{periods}"


def _held_out(fit: Trained) -> str:
    """Return how well held-out rows are predicted, and where it can be said, how well their mean alone predicts them."""
    history, metric = fit.history, fit.study.training.held_out.metric
    score = history["validation_log_score"].iloc[-1]
    ranked = f"validation_{metric}"
    words = f"{metric} {history[ranked].iloc[-1]:.4f}, " if ranked in history else ""
    if pd.isna(score):
        return f"{words}no log-loss" if words else "no rows were held out"
    return f"{words}log-loss {-score:.4f} nats per row{_of_the_mean(fit)}"


def _of_the_mean(fit: Trained) -> str:
    """Return the log-loss of the share of positives alone, where held-out rows are like the others."""
    if fit.study.data.negatives or fit.study.training.held_out.split != "random":
        return ""
    share = fit.catalogue.positives.sum() / fit.catalogue.count.sum()
    if not 0 < share < 1:
        return ""
    entropy = -(share * np.log(share) + (1 - share) * np.log1p(-share))
    return f" (the share of positives alone: {entropy:.4f})"


def _training(fit: Trained) -> str:
    epochs = " + ".join(str(number) for _, number in fit.history.groupby("phase").size().items())
    seconds, best = fit.history["seconds"].sum(), f", best of {len(fit.chains)} restarts" if fit.others else ""
    return f"{epochs} epochs in {seconds:.1f} s, seed {fit.study.training.seed}{best}"


def _checks(fit: Trained, checked: Check | None) -> Point:
    if checked is not None:
        return Point(checked.verdict, "good" if checked.passed else "bad", name="checks")
    return Point("not run" if fit.events is not None else f"cannot run: {fit.unsaved}", "idle", name="checks")


def _next(fit: Trained, checked: Check | None) -> Iterator[str]:
    """Yield calls that are likely to come next."""
    if checked is None and fit.events is not None:
        yield "fit.check()"
    if checked is not None and not checked.passed:
        yield "fit.last_check"
    yield "fit.plot.popularity()"
    yield "fit.recommend(k=10)"
    yield 'fit.report("report.html")'
