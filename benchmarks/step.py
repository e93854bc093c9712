"""How long a training step takes: the package against the same mathematics by hand, and against naive Pyro.

All contestants run in one process and in turns, so that a busy machine slows all of them; what counts is the median
over turns of the ratios within a turn. A step makes its batch, evaluates the loss and its gradient, and updates. The
data are whole batches, because the package cuts an epoch into batches of equal size: with N rows just above a multiple
of the batch size, steps would be shorter for small N. The hand-written step looks for no non-finite gradients, seeds
nothing and has the textbook KL of two Gammas, so its ratio counts the package's safeguards too.

The last lines are ratios: package over hand-written, naive over package, N=1e7 over N=1e5, and the default study, whose
vectors have a posterior and learned scales and whose counts are data, over point vectors of as many dimensions without
counts. With `--all` there are three contestants a model: package, package with `[training] compile = true`, and hand-written.
"""

import cProfile
import math
import pstats
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from typing import Annotated

import numpy as np
import pandas as pd
import pyro
import pyro.distributions as dist
import torch
import typer
from pyro.infer import SVI, TraceMeanField_ELBO
from pyro.nn import PyroModule, PyroParam
from torch import Tensor, nn
from torch.distributions import Gamma, constraints
from torch.nn.functional import logsigmoid
from turns import in_turns, print_command, print_ratio, print_times, seconds

from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import Pair, assemble
from pyro_popbias.data.batch import Batch
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.study.study import Study
from pyro_popbias.training.loop import TrainingLoop

USERS, ITEMS, DIM, BATCH = 6_040, 3_706, 64, 16_384
SCALE = 0.5  # of the vectors' prior
DEFAULT_DIM = 32  # of the default study
HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
SMALL, MIDDLE, LARGE = (size // BATCH * BATCH for size in (100_000, 1_000_000, 10_000_000))
MODELS = ("product", "additive", "inverse-logistic")
WARM = 20  # steps before the first turn


def make_pair(
    rows: int, model: str = "product", *, exposure: str = "none", compiled: bool = False, **affinity: object
) -> Pair:
    """Return a pair over synthetic ratings, of which a few items and users have most.

    Args:
        rows: number of ratings.
        model: its name.
        exposure: its exposure part; the hand-written step has none.
        compiled: whether `torch.compile` makes one function of the loss and its gradient.
        affinity: keys of the affinity in place of those of the hand-written step, point vectors and no user bias.
    """
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, ITEMS + 1) ** 0.8
    item = rng.choice(ITEMS, size=rows, p=share / share.sum())
    user = (USERS * rng.random(rows) ** 2).astype(np.int64)
    label = (rng.random(rows) < rng.beta(2, 3, ITEMS)[item]).astype(np.int8)
    users, items = (pd.Index(np.arange(size).astype(str)) for size in (USERS, ITEMS))
    point = {"dim": DIM, "scale": SCALE, "posterior": "point", "user_bias": False}
    study = Study(
        model={"name": model, "exposure": exposure, "affinity": {"name": "embedding", **(affinity or point)}},
        guide={"name": "gamma"},
        training={"batch_size": BATCH, "validation": 0.0, "device": "cpu", "compile": compiled},
    )
    return assemble(Interactions(users=users, items=items, user=user, item=item, label=label), study)


def endless(pair: Pair) -> Iterator[Batch]:
    """Yield batches, epoch after epoch."""
    for epoch in count():
        yield from pair.batches(epoch=epoch)


class Hand(nn.Module):
    """The package's loss in plain torch.

    Args:
        pair: where parameters start.
    """

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        affinity = pair.model.affinity
        self.users, self.items, self.intercept, self.log_concentration, self.rows = (
            nn.Parameter(value.detach().clone())
            for value in (
                affinity.user_vectors,
                affinity.item_vectors,
                affinity.intercept,
                pair.model.prior.log_concentration,
                pair.guide.popularity.rows,
            )
        )
        self.model = pair.study.model.name
        self.log_slope = nn.Parameter(torch.zeros((), dtype=torch.float64)) if self.model == "additive" else None

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss in nats."""
        # q and KL(q || prior) of each cell
        mean, a = self.rows.index_select(0, batch.cell).exp().unbind(-1)
        b = a / mean
        z = Gamma(a, b, validate_args=False).rsample()
        a0 = self.log_concentration.exp()
        kl = a0 * (b / a0).log() + torch.lgamma(a0) - torch.lgamma(a) + (a - a0) * torch.digamma(a) + (a0 - b) * mean
        # log P(label) of each interaction
        u, i = self.users.index_select(0, batch.user), self.items.index_select(0, batch.item)
        x = (u * i).sum(-1).double() + self.intercept
        z = z.index_select(0, batch.cell_index)
        likelihood = self.log_probability(x, z, batch.label).sum()
        # log priors of points
        prior = -0.5 * (self.intercept / 5).square() - math.log(5) - HALF_LOG_TWO_PI
        prior = prior - 0.5 * (self.log_concentration - math.log(2)).square() - HALF_LOG_TWO_PI
        if self.log_slope is not None:
            prior = prior - 0.5 * self.log_slope.square() - HALF_LOG_TWO_PI
        constant = DIM * (math.log(SCALE) + HALF_LOG_TWO_PI)
        for rows, weight in ((u, batch.user_weight), (i, batch.item_weight)):
            squares = torch.linalg.vecdot(rows, rows).double() / (2 * SCALE**2)
            prior = prior - (weight * (squares + constant)).sum()
        return (batch.weight * kl).sum() - batch.scale * likelihood - prior

    def log_probability(self, x: Tensor, z: Tensor, label: Tensor) -> Tensor:
        """Return log P(label | x, z) of each interaction, `(B,)`."""
        if self.model != "product":
            logit = x + z.log() if self.log_slope is None else x + self.log_slope.exp() * z
            return logsigmoid(torch.where(label > 0, logit, -logit))
        log_h, log_g = logsigmoid(x), torch.log(-torch.expm1(-z))
        one = log_h + log_g
        small = one < -math.log(2)
        direct = torch.log1p(-torch.exp(torch.where(small, one, -1.0)))
        zero = torch.where(small, direct, torch.logaddexp(logsigmoid(-x), log_h - z))
        return torch.where(label > 0, one, zero)


class NaiveModel(PyroModule):
    """The product model as a first draft: a subsampling plate over the rows and all items at every step.

    Args:
        user: `(N,)` codes.
        item: `(N,)` codes.
        label: `(N,)` 0 or 1.
    """

    def __init__(self, user: Tensor, item: Tensor, label: Tensor) -> None:
        super().__init__()
        self.user, self.item, self.label = user, item, label
        self.users = PyroModule[nn.Embedding](USERS, DIM)
        self.items = PyroModule[nn.Embedding](ITEMS, DIM)
        self.intercept = PyroParam(torch.tensor(0.0))
        self.concentration = PyroParam(torch.tensor(2.0), constraints.positive)

    def forward(self) -> None:
        """Run the program."""
        with pyro.plate("item", ITEMS):
            z = pyro.sample("popularity", dist.Gamma(self.concentration, self.concentration))
        with pyro.plate("interaction", len(self.user), subsample_size=BATCH) as rows:
            user, item = self.user[rows], self.item[rows]
            x = (self.users(user) * self.items(item)).sum(-1) + self.intercept
            probability = torch.sigmoid(x) * -torch.expm1(-z[item])
            pyro.sample("label", dist.Bernoulli(probs=probability), obs=self.label[rows])


class NaiveGuide(PyroModule):
    """A Gamma for each item, shape and rate as positive parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.shape = PyroParam(torch.full((ITEMS,), 2.0), constraints.positive)
        self.rate = PyroParam(torch.full((ITEMS,), 2.0), constraints.positive)

    def forward(self) -> None:
        """Run the program."""
        with pyro.plate("item", ITEMS):
            pyro.sample("popularity", dist.Gamma(self.shape, self.rate))


def package_step(pair: Pair) -> Callable[[], object]:
    """Return the package's own step."""
    with local_parameters():
        training, batches = TrainingLoop(pair, on_epoch=lambda _: None), endless(pair)

    def step() -> None:
        with local_parameters():
            training._step(next(batches))

    return step


def hand_step(hand: Hand, pair: Pair) -> Callable[[], object]:
    """Return the hand-written step, on the package's batches."""
    training, batches = pair.study.training, endless(pair)
    vectors = [parameter for name, parameter in hand.named_parameters() if name != "rows"]
    groups = [{"params": [hand.rows], "lr": training.guide_learning_rate}, {"params": vectors}]
    adam = torch.optim.Adam(groups, lr=training.learning_rate, betas=(0.9, 0.99), fused=True)

    def step() -> None:
        adam.zero_grad()
        hand(next(batches)).backward()
        adam.step()

    return step


def naive_step(events: Interactions) -> Callable[[], object]:
    """Return the step of the naive program, by plain SVI."""
    user, item = torch.from_numpy(events.user), torch.from_numpy(events.item)
    model = NaiveModel(user, item, torch.from_numpy(events.label).float())
    return SVI(model, NaiveGuide(), pyro.optim.Adam({"lr": 0.01}), TraceMeanField_ELBO()).step


def assert_same(hand: Hand, pair: Pair) -> None:
    """Assert that both losses and their gradients agree at one draw of z."""
    with local_parameters():
        batch, module = next(pair.batches()), pair.objective(pair.model, pair.guide)
        torch.manual_seed(1)
        package = module(batch)
    torch.manual_seed(1)
    own = hand(batch)
    torch.testing.assert_close(own, package, rtol=1e-9, atol=0)
    names = {
        "users": "model.affinity.user_vectors_unconstrained",
        "items": "model.affinity.item_vectors_unconstrained",
        "intercept": "model.affinity.intercept_unconstrained",
        "log_concentration": "model.prior.log_concentration_unconstrained",
        "rows": "guide.popularity.rows_unconstrained",
        "log_slope": "model.slope_parameter_unconstrained",
    }
    names = {own: theirs for own, theirs in names.items() if own in dict(hand.named_parameters())}
    parameters = dict(module.named_parameters())
    assert sorted(parameters) == sorted(names.values())
    theirs = torch.autograd.grad(package, [parameters[names[name]] for name, _ in hand.named_parameters()])
    ours = torch.autograd.grad(own, [parameter for _, parameter in hand.named_parameters()])
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * float(other.abs().max()))


def warm(package: Callable[[], object], pair: Pair) -> Callable[[], object]:
    """Take the package's first steps, and return the hand-written step from there on, checked to be the same."""
    for _ in range(WARM):
        package()
    with local_parameters():
        hand = Hand(pair)
        if hand.log_slope is not None:
            hand.log_slope.data.copy_(pair.model.slope_parameter)
    assert_same(hand, pair)
    return hand_step(hand, pair)


def compare_models(turns: int, steps: int) -> None:
    """Time package, compiled package and hand-written step of every model in turns."""
    contestants = {}
    for model in MODELS:
        pair = make_pair(MIDDLE, model)
        contestants[f"package, {model}"] = package = package_step(pair)
        contestants[f"compiled, {model}"] = package_step(make_pair(MIDDLE, model, compiled=True))
        contestants[f"hand-written, {model}"] = warm(package, pair)
    times = in_turns(contestants, turns, repeats=steps, warm=WARM)
    print_times(times)
    for model in MODELS:
        package, compiled, hand = (times[f"{kind}, {model}"] for kind in ("package", "compiled", "hand-written"))
        print_ratio(f"{model}: package over hand-written", package, hand)
        print_ratio(f"{model}: compiled over hand-written", compiled, hand)


def part_of(file: str, function: str) -> str:
    """Return the part of a step that a profiled function belongs to."""
    if file == "~":
        own = {
            "run_backward": "gradient",
            "_fused_adam_": "Adam",
            "_foreach_add_": "Adam",
            "kernel": "compiled kernels",
        }
        return next((part for name, part in own.items() if name in function), "operations of torch")
    names = {"/pyro/": "Python of Pyro", "/torch/": "Python of torch"}
    return next((part for name, part in names.items() if name in file), "the package, infix operations included")


def profile(model: str, *, steps: int = 200) -> None:
    """Print the share of each part in the time of a step, eager and compiled, by Python's profiler."""
    for compiled in (False, True):
        step = package_step(make_pair(MIDDLE, model, compiled=compiled))
        for _ in range(WARM):
            step()
        plain = seconds(lambda step=step: [step() for _ in range(steps)]) / steps
        profiler = cProfile.Profile()
        profiler.runcall(lambda step=step: [step() for _ in range(steps)])
        shares: Counter[str] = Counter()
        for (file, _, function), (_, _, own, _, _) in pstats.Stats(profiler).stats.items():  # type: ignore[attr-defined]
            shares[part_of(file, function)] += own
        print(f"{'compiled' if compiled else 'eager'}, {model}: {1e3 * plain:.2f} ms a step; under the profiler")
        for part, time in shares.most_common():
            print(f"    {part:<36} {1e3 * time / steps:6.2f} ms   {time / shares.total():4.0%}")


def main(
    turns: Annotated[int, typer.Option(help="turns of all contestants")] = 15,
    steps: Annotated[int, typer.Option(help="timed steps of each in a turn")] = 4,
    every: Annotated[bool, typer.Option("--all", help="every model with a hand-written twin")] = False,
    parts: Annotated[bool, typer.Option("--profile", help="where the time of a step goes, and no turns")] = False,
) -> None:
    """Time the steps in turns and print medians and ratios."""
    pyro.enable_validation(False)
    print_command()
    if parts:
        profile("product")
        return
    if every:
        compare_models(turns, steps)
        return
    pair, small, large = make_pair(MIDDLE), make_pair(SMALL), make_pair(LARGE)
    package = package_step(pair)
    by_hand = warm(package, pair)
    epochs = count(1)
    contestants = {
        f"package, N={MIDDLE:,}": package,
        f"hand-written, N={MIDDLE:,}": by_hand,
        f"naive Pyro, N={MIDDLE:,}": naive_step(pair.events),
        f"package, N={SMALL:,}": package_step(small),
        f"package, N={LARGE:,}": package_step(large),
        "default study": package_step(make_pair(MIDDLE, exposure="auto", dim=DEFAULT_DIM)),
        f"point vectors, dim {DEFAULT_DIM}": package_step(make_pair(MIDDLE, dim=DEFAULT_DIM, posterior="point")),
        f"start of an epoch, N={LARGE:,}": lambda: next(large.batches(epoch=next(epochs))),
    }
    times = in_turns(contestants, turns, repeats=steps, warm=WARM)
    print_times(times)
    middle, hand, naive, few, many, default, point = list(times.values())[:7]
    print_ratio("package over hand-written", middle, hand)
    print_ratio("naive Pyro over package", naive, middle)
    print_ratio(f"N={LARGE:,} over N={SMALL:,}", many, few)
    print_ratio("default study over point vectors", default, point)


if __name__ == "__main__":
    typer.run(main)
