"""How long the package takes beside other libraries: NumPyro and plain Pyro on a step, implicit and cornac on an epoch.

Steps are of the product model with Gamma popularities and point vectors of 64 dimensions, batches of 16,384 rows. NumPyro and
plain Pyro run the same first draft: a plate over all items, a subsampling plate over the rows, NumPyro's step jitted. Both
draw their batches at random; the package cuts its epochs into batches of the distinct cells that they meet.

Epochs are over MovieLens latest small (`--data FOLDER` with its ratings.csv) and over a synthetic log of 10,000,000 rows: the
package's epoch of phase one over all labelled rows, an iteration of implicit's ALS and of cornac's BPR over the positives.
They do different work, so ratios say what an epoch costs and not what it is worth. Everything has one thread.

Peers are optional: `pip install -c constraints.txt -e '.[bench]'` adds implicit and cornac, `pip install numpyro` NumPyro.
What is not installed is named and left out. The last line has the median ratios, the peer over the package.
"""

import warnings
from collections import OrderedDict
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pyro
import torch
import typer
from scale import POINT, SMALL, events_of
from scipy import sparse
from step import BATCH, DIM, ITEMS, MIDDLE, USERS, make_pair, naive_step, package_step
from turns import in_turns, print_command, print_ratio, print_times

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import assemble
from pyro_popbias.training.loop import TrainingLoop

PEERS = ("numpyro", "jax", "pyro-ppl", "implicit", "cornac")


def print_versions() -> set[str]:
    """Print which peers are installed, with their versions; return them."""
    found = {}
    for name in PEERS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            print(f"{name} is not installed: left out")
    print(", ".join(f"{name} {number}" for name, number in found.items()))
    return set(found)


def numpyro_step(events: pb.Interactions) -> Callable[[], object]:
    """Return the jitted step of the naive program in NumPyro, by plain SVI."""
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import SVI, TraceMeanField_ELBO

    user, item, label = (jnp.asarray(each) for each in (events.user, events.item, events.label.astype(np.float32)))
    rng = np.random.default_rng(0)
    vectors = [jnp.asarray(rng.standard_normal((size, DIM)), jnp.float32) for size in (USERS, ITEMS)]
    positive = dist.constraints.positive

    def model(user: Any, item: Any, label: Any) -> None:
        users, items = (numpyro.param(name, each) for name, each in zip(("users", "items"), vectors, strict=True))
        intercept = numpyro.param("intercept", 0.0)
        concentration = numpyro.param("concentration", 2.0, constraint=positive)
        with numpyro.plate("item", ITEMS):
            z = numpyro.sample("popularity", dist.Gamma(concentration, concentration))
        with numpyro.plate("interaction", len(user), subsample_size=BATCH) as rows:
            u, i = user[rows], item[rows]
            x = (users[u] * items[i]).sum(-1) + intercept
            probability = jax.nn.sigmoid(x) * -jnp.expm1(-z[i])
            numpyro.sample("label", dist.Bernoulli(probs=probability), obs=label[rows])

    def guide(user: Any, item: Any, label: Any) -> None:
        shape, rate = (numpyro.param(name, jnp.full(ITEMS, 2.0), constraint=positive) for name in ("shape", "rate"))
        with numpyro.plate("item", ITEMS):
            numpyro.sample("popularity", dist.Gamma(shape, rate))

    svi = SVI(model, guide, numpyro.optim.Adam(0.01), TraceMeanField_ELBO())
    held = [svi.init(jax.random.PRNGKey(0), user, item, label)]
    update = jax.jit(svi.update)

    def step() -> None:
        held[0], loss = update(held[0], user, item, label)
        loss.block_until_ready()

    return step


def package_epoch(events: pb.Interactions) -> Callable[[], object]:
    """Return an epoch of the package's phase one, over all rows."""
    study = pb.Study(
        model={"name": "product", "exposure": "none", "affinity": {"name": "embedding", **POINT}},
        training={"batch_size": BATCH, "validation": 0.0, "device": "cpu"},
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pb.DataWarning)
        pair = assemble(events, study)
    with local_parameters():
        training = TrainingLoop(pair, on_epoch=lambda _: None)

    def epoch() -> None:
        with local_parameters():
            for batch in pair.batches():
                training._step(batch)

    return epoch


def peer_epochs(events: pb.Interactions, installed: set[str]) -> dict[str, Callable[[], object]]:
    """Return an iteration of each installed library over the positives, by name."""
    positive = events.label == 1
    user, item = events.user[positive], events.item[positive]
    sizes, found = (len(events.users), len(events.items)), {}
    if "implicit" in installed:
        from implicit.cpu.als import AlternatingLeastSquares

        matrix = sparse.csr_matrix((np.ones(len(user), np.float32), (user, item)), shape=sizes)
        matrix.sum_duplicates()
        als = AlternatingLeastSquares(factors=DIM, iterations=1, num_threads=1, random_state=0)
        found["implicit, ALS"] = lambda: als.fit(matrix, show_progress=False)
    if "cornac" in installed:
        from cornac.data import Dataset
        from cornac.models import BPR

        ids = (OrderedDict((code, code) for code in range(number)) for number in sizes)
        pairs = np.unique(user.astype(np.int64) * sizes[1] + item)
        rows = (pairs // sizes[1], pairs % sizes[1], np.ones(len(pairs)))
        data, bpr = Dataset(*sizes, *ids, rows, seed=0), BPR(k=DIM, max_iter=1, num_threads=1, verbose=False, seed=0)

        def fit() -> None:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="Model is already fitted", category=UserWarning)
                bpr.fit(data)

        found["cornac, BPR"] = fit
    return found


def compared(contestants: dict[str, Callable[[], object]], turns: int, found: dict[str, float], **how: Any) -> None:
    """Time contestants, the package first, and print and note the ratios of the others over it."""
    times = in_turns(contestants, turns, **how)
    print_times(times)
    ours, *others = times
    for name in others:
        key = name.partition(",")[0].replace(" ", "-").lower()
        found[f"{key}-{len(found)}"] = print_ratio(f"{name}, over the package", times[name], times[ours])


def main(
    data: Annotated[Path, typer.Option(help="folder of MovieLens latest small")] = Path(
        "../shared/data/ml-latest-small"
    ),
    turns: Annotated[int, typer.Option(help="turns of steps")] = 9,
    steps: Annotated[int, typer.Option(help="timed steps of each in a turn")] = 3,
    epochs: Annotated[int, typer.Option(help="turns of epochs")] = 3,
    rows: Annotated[int, typer.Option(help="rows of the synthetic log")] = 10_000_000,
) -> None:
    """Time steps and epochs in turns, and print medians, quartiles and ratios."""
    pyro.enable_validation(False)
    torch.set_num_threads(1)
    print_command()
    installed, found = print_versions(), {}
    pair = make_pair(MIDDLE)
    contestants = {
        "package": package_step(pair),
        "package, compiled": package_step(make_pair(MIDDLE, compiled=True)),
        "plain Pyro": naive_step(pair.events),
    }
    if "numpyro" in installed:
        contestants["NumPyro, jitted"] = numpyro_step(pair.events)
    print(f"a step of {BATCH:,} of {MIDDLE:,} rows")
    compared(contestants, turns, found, repeats=steps, warm=5)
    logs = {}
    if (data / "ratings.csv").exists():
        logs["MovieLens latest small"] = pb.read_interactions(
            data / "ratings.csv", user="userId", item="movieId", label="rating", positive_if=">=4"
        )
    else:
        print(f"there is no {data / 'ratings.csv'}: MovieLens latest small left out")
    logs["synthetic"] = events_of(rows, *SMALL)
    for name, events in logs.items():
        print(f"an epoch of {name}: {len(events):,} rows, {int(events.label.sum()):,} of them positive")
        compared({"package": package_epoch(events), **peer_epochs(events, installed)}, epochs, found)
    print(*(f"{name.rpartition('-')[0]}={ratio:.2f}" for name, ratio in found.items()))


if __name__ == "__main__":
    typer.run(main)
