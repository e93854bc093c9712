"""What a process of `test_ranks` runs, once in each of several: it finds its facts and writes them as JSON.

python ranks_worker.py FACTS FOLDER
"""

import hashlib
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import assemble
from pyro_popbias.training import optimizer
from pyro_popbias.training.environment import Launch
from pyro_popbias.training.loop import TrainingLoop
from pyro_popbias.training.processes import processes_of

USERS, ITEMS, ROWS = 300, 120, 12_000
STUDIES = {
    "product": ({"name": "product"}, "gamma", "point"),
    "additive": ({"name": "additive", "prior": {"name": "lognormal"}}, "lognormal", "mean-field"),
    "learned scales": ({"name": "additive"}, "gamma", None),
    "walk": ({"name": "additive", "prior": {"name": "lognormal", "drift": "random-walk"}}, "markov", "point"),
    "counts": ({"name": "product", "exposure": {"name": "negative-binomial"}}, "amortized-lognormal", "point"),
    "joint": ({"name": "product"}, "auto-normal", "point"),
    "negatives": ({"name": "product"}, "gamma", "point"),
    "point": ({"name": "additive"}, "point", "point"),
    "product, point": ({"name": "product"}, "point", "point"),
}


def study(name, **training):
    model, guide, posterior = STUDIES[name]
    affinity = {"name": "embedding", "dim": 4, "user_bias": name == "additive", "item_quality": name == "counts"}
    affinity |= {} if posterior is None else {"posterior": posterior, "scale": 0.5}
    options = {"epochs": 3, "batch_size": 1_500, "validation": 0.1, "device": "cpu", "phase_two": 12, **training}
    data = {"negatives": 2} if name == "negatives" else {}
    return pb.Study(model={**model, "affinity": affinity}, guide={"name": guide}, training=options, data=data)


def log(name, rows=ROWS):
    rng = np.random.default_rng(3)
    item = np.minimum(rng.geometric(0.03, rows) - 1, ITEMS - 1)
    user = (USERS * rng.random(rows) ** 2).astype(int)
    taste = rng.normal(size=(2, max(USERS, ITEMS), 2))
    x = (taste[0, user] * taste[1, item]).sum(-1) + rng.normal(size=ITEMS)[item] - 0.5
    frame = {"user": user, "item": item, "label": (rng.random(rows) < 1 / (1 + np.exp(-x))).astype(int)}
    frame = pd.DataFrame(frame).assign(time=rng.random(rows))
    options = {"periods": 3, "time": "time"} if name == "walk" else {}
    if name == "negatives":
        return pb.Interactions.from_frame(frame.drop(columns="label").drop_duplicates(["user", "item"]))
    return pb.Interactions.from_frame(frame, label="label", **options)


def gradient_of(name, scaled):
    """Return terms and gradient of all rows near the start: of the whole log, or the sum over processes of their shares."""
    pair = assemble(log(name), study(name))
    processes = processes_of(pair) if scaled else None
    with local_parameters():
        loop = TrainingLoop(pair, on_epoch=lambda _: None, processes=processes)
        elsewhere = torch.Generator().manual_seed(1)  # at the start KLs are 0
        for parameter in loop._loss.parameters():
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=elsewhere)
        trained = processes.pair if scaled else pair
        batch = trained.whole()
        torch.manual_seed(0)
        loop._loss(batch).backward(processes.share if scaled else None)
        terms = torch.stack([trained.objective.latest.kl, trained.objective.latest.log_prior]).double()
        if scaled:
            assert processes.sum_gradients(batch, finite=True)
            for parameter in processes._shared:  # a row's gradient is on the rank of its item
                parameter.grad = processes._ranks.total(parameter.grad)
    assert all(parameter.grad is not None for parameter in loop._loss.parameters() if parameter.requires_grad)
    gradient = {name: parameter.grad for name, parameter in loop._loss.named_parameters() if parameter.grad is not None}
    return trained.rows.mean(terms), gradient


def gradients(name):
    """Return the largest distance of the exchanged gradient from the whole one, relative to the largest entry; and of terms."""
    (terms, own), (whole_terms, whole) = gradient_of(name, scaled=True), gradient_of(name, scaled=False)
    far = {key: float((own[key] - whole[key]).abs().max() / (whole[key].abs().max() + 1e-9)) for key in whole}
    return {"gradient": far, "terms": ((terms - whole_terms) / whole_terms).tolist()}


def retries():
    """Return whether a rank agrees to a step where the first rank's gradient is not finite, and where all are."""
    processes = processes_of(assemble(log("product"), study("product")))
    with local_parameters():
        loop = TrainingLoop(processes.pair, on_epoch=lambda _: None, processes=processes)
        batch = processes.pair.whole()
        loop._loss(batch).backward(processes.share)
        return [processes.sum_gradients(batch, finite=finite or processes.stream != (0,)) for finite in (False, True)]


def fitted(name, **training):
    """Return the held-out score of a fit, and what its state is."""
    fit = pb.fit(log(name), study=study(name, **training), progress=False)
    state = {**fit.model.state_dict(), **{f"guide.{key}": value for key, value in fit.guide.state_dict().items()}}
    digest = hashlib.sha256(b"".join(state[key].numpy().tobytes() for key in sorted(state))).hexdigest()
    scores = fit.history["validation_log_score"].tolist()
    return {"score": scores[-1], "elbo": fit.history["elbo"].iloc[-1], "state": digest}


def large_tables(name):
    """Return what `fitted` does of a fit whose tables are all updated row by row."""
    optimizer.LARGE = 100
    return fitted(name)


def update():
    """Go on with a fit that this process has made alone."""
    environment = {name: os.environ.pop(name) for name in ("WORLD_SIZE", "RANK")}
    fit = pb.fit(log("product", 2_000), study=study("product", epochs=1, phase_two=1), progress=False)
    os.environ |= environment
    pb.update(fit, log("product", 500))


def refusal(make):
    """Return the message of the error of what a process does."""
    try:
        make()
    except pb.PopBiasError as error:
        return f"{type(error).__name__} {error}"
    return ""


FACTS = {
    "exact": lambda: {
        **{name: gradients(name) for name in ("point", "product, point", "product", "additive")},
        "retries": retries(),
        "other seed": refusal(lambda: pb.fit(log("point"), study=study("point", seed=Launch.here().rank))),
        "update": refusal(update),
        "few": refusal(lambda: pb.fit(log("point", rows=400), study=study("point", batch_size=1), progress=False)),
    },
    "fits": lambda: {name: fitted(name) for name in STUDIES},
    "large tables": lambda: {name: large_tables(name) for name in ("product", "learned scales", "negatives")},
}

if __name__ == "__main__":
    torch.set_num_threads(1)
    own = Path(sys.argv[2]) / f"{Launch.here().rank}.json"
    own.write_text(json.dumps(FACTS[sys.argv[1]]()), encoding="utf-8")
