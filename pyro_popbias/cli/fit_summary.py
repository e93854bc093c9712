"""What a fit has taken and reached, in lines and as a record."""

from collections.abc import Iterator

from pyro_popbias.assembly.identification import warning_of
from pyro_popbias.cli.outputs import Record
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.fitted import Fit
from pyro_popbias.training.held_out import highest


def fit_record(fitted: Fit, events: Interactions) -> Record:
    """Return what a fit has read, taken and reached.

    Args:
        fitted: the fit.
        events: its interactions.

    Returns:
        data, rows, users, items, model, guide, restarts, phase_1_epochs, phase_2_epochs, seconds; held_out: log_loss in nats per
        row, log_loss_after_phase_1 and the metric that judged training, None where no rows are held out; warning: what
        `popbias fit` warns of, None for nothing.
    """
    history, study = fitted.history, fitted.study
    first = history["phase"] == 1
    return {
        "data": study.data.path,
        "rows": len(events),
        "users": len(fitted.catalogue.users),
        "items": len(fitted.catalogue.items),
        "model": study.model.name,
        "guide": study.guide.name,
        "restarts": len(fitted.chains),
        "phase_1_epochs": int(first.sum()),
        "phase_2_epochs": int((~first).sum()),
        "seconds": float(history["seconds"].sum()),
        "held_out": _held_out(fitted),
        "warning": warning_of(study) or None,
    }


def _held_out(fitted: Fit) -> dict[str, float] | None:
    """Return what the rows held out say of a fit; None where there are none."""
    history, metric = fitted.history, fitted.study.training.held_out.metric
    score = history["validation_log_score"]
    if not score.notna().any():
        return None
    judge = f"validation_{metric}"
    found = {metric: float(history[judge].iloc[-1])} if judge in history else {}
    before = score[history["phase"] == 1].iloc[epochs_kept(fitted) - 1]
    return {**found, "log_loss": -float(score.iloc[-1]), "log_loss_after_phase_1": -float(before)}


def epochs_kept(fitted: Fit) -> int:
    """Return after how many epochs phase one was best, to which it returns, or all where it runs all of them."""
    history, training = fitted.history, fitted.study.training
    judge = f"validation_{training.held_out.metric}"
    first = history.loc[history["phase"] == 1, judge if judge in history else "validation_log_score"]
    whole = training.runs_whole(learns_scales=fitted.study.model.affinity.learns_scales)
    return len(first) if whole else highest(first.to_numpy()) + 1


def fit_summary(fitted: Fit) -> Iterator[str]:
    """Yield what a fit has taken and reached."""
    history = fitted.history
    first = history["phase"] == 1
    if fitted.others:
        yield f"the best of {len(fitted.chains)} restarts:"
    yield f"phase 1: {first.sum()} epochs, phase 2: {(~first).sum()} epochs, {history['seconds'].sum():.1f} s"
    if (held_out := _held_out(fitted)) is not None:
        loss, before = held_out.pop("log_loss"), held_out.pop("log_loss_after_phase_1")
        for metric, value in held_out.items():
            yield f"held-out {metric} {value:.4f}"
        yield f"held-out log-loss {loss:.4f} nats per row (after phase 1: {before:.4f})"
    if sentence := warning_of(fitted.study):
        yield f"warning: {sentence}"
