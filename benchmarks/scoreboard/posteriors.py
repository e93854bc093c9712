"""Figures 9 to 12: how near q is to the posterior, by quadrature, by ranks of simulated truths, and by NUTS.

Worlds are those of `popbias calibrate`: everything but popularity is known, and q is trained as in any fit.
"""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import calibration
import torch
from torch.distributions import kl_divergence

import pyro_popbias as pb
from pyro_popbias.assembly.pair import Pair
from pyro_popbias.checks.accuracy import DRAWS, accuracy
from pyro_popbias.checks.importance import ENOUGH, largest_k
from pyro_popbias.checks.known_world import known_pair, with_given_affinity
from pyro_popbias.checks.simulated_ranks import simulated_ranks
from pyro_popbias.cli.simulated_calibration import DISPERSION, ROWS
from pyro_popbias.data.batch import Batch
from pyro_popbias.guides import AutoNormalGuide, LogNormalGuide
from pyro_popbias.objective import Objective
from pyro_popbias.simulation.simulate import Simulation
from pyro_popbias.training.restarts import train_restart
from scoreboard.section import Measured, Section, resumed

GUIDES = ("lognormal", "gamma", "weibull", "amortized-gamma")
PROMISED = ("lognormal", "gamma")  # those with bounds of their own
MEAN, HIGH, HEAVY = 0.01, 0.1, 0.01  # nats, nats, share of items
CONTROL, RANKS = 0.0115, 0.02
QUICK_EPOCHS = 12  # of phase two: one cycle


def world_and_pair(guide: str, items: int, *, change: dict[str, Any] | None = None) -> tuple[Simulation, Pair]:
    """Return a world of 50 rows an item, and the untrained pair that knows all of it but popularity.

    Args:
        guide: name.
        items: number of items.
        change: keys of the training.
    """
    job = {"model": "product", "prior": "gamma", "guide": guide}
    study = with_given_affinity(calibration.study_of(job)).replace("training", **(change or {}))
    world = pb.simulate(
        "product", "fixed", items=items, interactions=ROWS * items, seed=0, exposure_dispersion=DISPERSION
    )
    return world, known_pair(study, world)


def distances(guide: str, items: int, change: dict[str, Any] | None = None) -> dict[str, float]:
    """Return how far a guide is from the exact posteriors of items with 20 or more rows."""
    _, pair = world_and_pair(guide, items, change=change)
    train_restart(pair, 1, restarts=1, progress=False)
    table = accuracy(pair, items=items).ruled
    heavy = (table["ess"] < ENOUGH) & (table["k_hat"] > largest_k(DRAWS))
    return {
        "mean": float(table["kl"].mean()),
        "high": float(table["kl"].quantile(0.99)),
        "heavy": float(heavy.mean()),
        "ess": float(table["ess"].quantile(0.01)),
        "items": len(table),
    }


def _of_guides(folder: Path, quick: bool) -> dict[str, Any]:
    items, guides = (150, ("lognormal",)) if quick else (1_000, GUIDES)
    change = {"phase_two": QUICK_EPOCHS} if quick else None
    # figures 9 and 11 are those of the same fits
    together = folder.parent / "distances"
    together.mkdir(exist_ok=True)
    found = resumed(
        together,
        [f"{guide}-{items}" for guide in guides],
        lambda name: distances(name[: name.rindex("-")], items, change),
    )
    return {name[: name.rindex("-")]: each for name, each in found.items()}


def exact_kl(folder: Path, quick: bool) -> Measured:
    """Compare q with the exact posterior of every item by quadrature."""
    found = _of_guides(folder, quick)
    words = [f"{guide} {each['mean']:.4f} / {each['high']:.3f}" for guide, each in found.items()]
    reached = found["lognormal"]["mean"] <= MEAN and all(found[guide]["high"] <= HIGH for guide in found)
    missed = [f"{guide}: 99th percentile {each['high']:.3f}" for guide, each in found.items() if each["high"] > HIGH]
    return Measured(f"mean / 99 %: {', '.join(words)} nats", reached, tuple(missed))


def heavy_tails(folder: Path, quick: bool) -> Measured:
    """Count items whose importance ratios have a heavy tail, where the effective sample size is low."""
    found = _of_guides(folder, quick)
    words = [f"{guide} {each['heavy']:.1%}" for guide, each in found.items()]
    # a part of the items may have some more by chance
    most = HEAVY + (3 * math.sqrt(HEAVY / found["lognormal"]["items"]) if quick else 0.0)
    missed = [
        f"{guide}: {each['heavy']:.1%} of {each['items']}" for guide, each in found.items() if each["heavy"] > most
    ]
    return Measured(", ".join(words), not missed, tuple(missed))


def swapped_labels(batch: Batch) -> Batch:
    """Take positives for negatives."""
    return replace(batch, label=None if batch.label is None else 1 - batch.label)


def without_jacobian(self: Objective, name: str, model_trace: Any, guide_trace: Any) -> torch.Tensor:
    """Return the KL of an autoguide without the density that its transform carries."""
    q, p = guide_trace.nodes[name], model_trace.nodes[name]
    return (q["scale"] * kl_divergence(q["fn"], p["fn"])).sum()


def once_a_row(batch: Batch) -> Batch:
    """Count the KL of a cell once for each of its rows in the batch."""
    return replace(batch, weight=batch.weight * torch.bincount(batch.cell_index, minlength=len(batch.cell)))


FAULTS: dict[str, tuple[str, Callable[[], AbstractContextManager[Any]]]] = {
    "none": ("lognormal", nullcontext),
    "none, auto-normal": ("auto-normal", nullcontext),
    "KL x 2": ("lognormal", partial(calibration.faulty, calibration.heavy_cells)),
    "likelihood x 0.5": ("lognormal", partial(calibration.faulty, calibration.light_rows)),
    "dropped Jacobian": ("auto-normal", lambda: patch.object(Objective, "_kl", without_jacobian)),
    "swapped label": ("lognormal", partial(calibration.faulty, swapped_labels)),
    "wrong plate scale": ("lognormal", partial(calibration.faulty, once_a_row)),
    "wrong prior": ("lognormal", nullcontext),
}


def caught(fault: str, items: int) -> dict[str, Any]:
    """Return which rules of figures 9 and 10 fail under a fault."""
    guide, built_in = FAULTS[fault]
    world, pair = world_and_pair(guide, items, change={"phase_two": QUICK_EPOCHS})
    if fault == "wrong prior":  # of a quarter of the variance: exact posteriors have it too, and their ranks show it
        with torch.no_grad():
            pair.model.prior.log_concentration += math.log(4.0)
    # q of auto-normal is a LogNormal a cell, so that it must reach what that family reaches
    with patch.object(AutoNormalGuide, "bounds", LogNormalGuide.bounds):
        with built_in():
            train_restart(pair, 1, restarts=1, progress=False)
        findings = [*accuracy(pair, items=items).findings(), *simulated_ranks(pair, world).findings()]
    return {"fails": [finding.name for finding in findings if not finding.passed]}


def pooled_ranks(folder: Path, quick: bool) -> Measured:
    """Measure the distance of ranks of 20,000 items from uniform ones, and look for faults that are built in."""
    chosen = ["none", "KL x 2"] if quick else list(FAULTS)
    found = resumed(folder, chosen, lambda fault: caught(fault, 300 if quick else 1_000))
    faults = [fault for fault in chosen if not fault.startswith("none")]
    right = [fault for fault in faults if found[fault]["fails"]]
    false = [fault for fault in chosen if fault.startswith("none") and found[fault]["fails"]]
    details = [f"{fault}: fails {', '.join(found[fault]['fails']) or 'nothing'}" for fault in chosen]
    words = f"{len(right)} of {len(faults)} faults caught, {len(false)} false alarms"
    if quick:
        return Measured(words, right == faults and not false, tuple(details))
    jobs = {guide: {"model": "product", "prior": "gamma", "guide": guide, "fault": "", "seed": 0} for guide in PROMISED}
    ranks = resumed(folder, PROMISED, lambda name: calibration.figures(calibration.ranks(jobs[name], 20_000)))
    each = [f"{name} {ranks[name]['distance']:.4f} ({ranks[name]['paired']:.4f} beside it)" for name in PROMISED]
    control = max(ranks[name]["control"] for name in PROMISED)
    near = control <= CONTROL and all(ranks[name]["distance"] <= RANKS for name in PROMISED)
    return Measured(
        f"control {control:.4f}, {', '.join(each)}; {words}", near and right == faults and not false, tuple(details)
    )


def against_nuts(folder: Path, quick: bool) -> Measured:
    """Compare q and the exact posterior with draws of NUTS, on small problems of 50 items."""
    pairs = calibration.SMALL[:1] if quick else calibration.SMALL
    jobs = {"-".join(pair): dict(zip(calibration.KEYS, (*pair, "", 0), strict=True)) for pair in pairs}
    draws = {"WARMUP": 60, "DRAWS": 150} if quick else {}
    with patch.multiple(calibration, **draws) if draws else nullcontext():
        found = resumed(folder, list(jobs), lambda name: calibration.against_nuts(jobs[name], 0))
    exact, q = (max(each[key] for each in found.values()) for key in ("exact_mean", "q_mean"))
    ratios = [each["sd_50"] for each in found.values()]
    details = [
        f"{name}: " + ", ".join(f"{key} {value:.2f}" for key, value in each.items()) for name, each in found.items()
    ]
    words = f"means within {q:.1f} MCSE (exact {exact:.1f}); median sd ratios {min(ratios):.2f} to {max(ratios):.2f}"
    return Measured(words, max(exact, q) <= 4 and min(ratios) >= 0.9 and max(ratios) <= 1.1, tuple(details))


SECTIONS = [
    Section(9, "exact KL of q from the posterior of an item", "mean <= .01 (lognormal), 99 % <= .1", exact_kl, 5),
    Section(10, "ranks of simulated truths", "control <= .0115, q <= .02, 6 of 6 faults caught", pooled_ranks, 10),
    Section(11, "k-hat > .7 where ESS / S < .9", "<= 1 % of items", heavy_tails, 1),
    Section(12, "q against NUTS", "5 problems: means within 4 MCSE, median sd ratio .9 to 1.1", against_nuts, 6),
]
