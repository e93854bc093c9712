"""Figure 14: gradients of every model, prior and guide against differences, KLs against draws, draws against densities.

What is registered is what is tested. The loss of a pair is differentiated by each number that its model and guide learn, in
float64 and with the same base noise on both sides of a difference. Draws of a Gamma distribution come from a rejection
sampler, whose path is no smooth function of the shape: there z is held, and the derivative of z is compared with
-dF/da / f of the distribution function F and the density f.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyro
import torch
from pyro.distributions import Delta, Gamma
from pyro.distributions.testing.gof import auto_goodness_of_fit
from scipy import stats
from torch import Tensor

import pyro_popbias as pb
from pyro_popbias.assembly.components import local_parameters
from pyro_popbias.assembly.pair import Pair
from pyro_popbias.distributions import draw
from pyro_popbias.distributions.compatibility import closed_kl
from pyro_popbias.models import MODELS, SATURATIONS
from scoreboard.section import Measured, Section

STEP, RELATIVE, ABSOLUTE = 1e-6, 1e-3, 1e-5  # those of torch.autograd.gradcheck
DRAWS, ERRORS, LEAST_P = 100_000, 4, 2e-5
SHAPES = (0.05, 0.3, 1.0, 2.5, 30.0, 1e4)
RSAMPLE = Gamma.rsample
PATH = 2e-3  # relative error of torch's derivative of a Gamma draw, for shapes from .05


def configurations() -> list[str]:
    """Return model, prior, guide and saturation of every pair that is allowed, as "model/prior/guide/saturation"."""
    table = pb.variants().query("allowed")
    return [
        f"{row.model}/{row.prior}/{row.guide}/{saturation}"
        for row in table.itertuples()
        for saturation in [name for name, g in SATURATIONS.items() if MODELS[row.model].takes_saturation(g)] or ["-"]
    ]


def pair_of(name: str) -> Pair:
    """Return a small pair whose numbers have been moved, so that nothing is right because it is 0."""
    model, prior, guide, saturation = name.split("/")
    world = pb.simulate(
        model, users=15, items=6, interactions=60, seed=0, prior="normal" if prior == "normal" else "gamma"
    )
    vectors = {key: world.truth[key] for key in ("user_vectors", "item_vectors")}
    given: dict[str, Any] = {"affinity": {"name": "fixed", **vectors}, "prior": {"name": prior}}
    if saturation != "-":
        cls = SATURATIONS[saturation]
        given["saturation"] = {"name": saturation, cls.parameter_name: "learned"}
    study = pb.Study(
        model={"name": model, **given}, guide={"name": guide}, training={"device": "cpu", "validation": 0.0}
    )
    made, generator = pb.pair(world.events, study=study), torch.Generator().manual_seed(0)
    with torch.no_grad(), local_parameters():
        made.objective(made.model, made.guide)(made.whole())  # an autoguide has no parameters before its first call
        for value in parameters(made):
            value += 0.2 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
    return made


def parameters(made: Pair) -> list[Tensor]:
    """Return the numbers that a pair learns."""
    return [value for part in (made.model, made.guide) for value in part.parameters() if value.dtype is torch.float64]


@contextmanager
def held_draws() -> Iterator[None]:
    """Make draws of Gamma distributions constants, those of one seed."""
    kept: list[Tensor] = []

    def rsample(self: Gamma, sample_shape: Any = torch.Size()) -> Tensor:  # noqa: B008
        if not kept:
            with torch.no_grad():
                kept.append(RSAMPLE(self, sample_shape))
        return kept[0]

    with patch.object(Gamma, "rsample", rsample):
        yield


def off_by(name: str) -> str:
    """Return which derivative of a pair's loss is not that of differences; empty where all are."""
    made = pair_of(name)
    batch = made.whole()

    def loss() -> Tensor:
        torch.manual_seed(0)
        value: Tensor = objective(batch)
        return value

    with local_parameters(), held_draws():
        objective = made.objective(made.model, made.guide)
        numbers = parameters(made)
        for value in numbers:
            value.grad = None
        loss().backward()
        for value in numbers:
            found = torch.zeros_like(value) if value.grad is None else value.grad
            for k in range(value.numel()):
                flat = value.data.view(-1)
                at, ends = flat[k].item(), []
                for sign in (1, -1):
                    flat[k] = at + sign * STEP
                    ends.append(loss().item())
                flat[k] = at
                difference, own = (ends[0] - ends[1]) / (2 * STEP), found.reshape(-1)[k].item()
                if not abs(own - difference) <= ABSOLUTE + RELATIVE * abs(difference):
                    return f"{name}: a derivative is {own:.6g}, by differences {difference:.6g}"
    return ""


def kl_off_by(name: str) -> str:
    """Return how far a closed KL is from the mean over draws; empty where it is within four errors, or none is closed."""
    made = pair_of(name)
    with torch.no_grad(), local_parameters():
        cells = torch.arange(len(made.events.items))
        q, p = made.guide.popularity.posterior(cells), made.model.prior.distribution(cells)
        exact = None if isinstance(q, Delta) else closed_kl(q, p)
        if exact is None:
            return ""
        torch.manual_seed(0)
        z = q.sample((DRAWS,))
        ratio = q.log_prob(z) - p.log_prob(z)
        wrong = (exact - ratio.mean(0)).abs() > ERRORS * ratio.std(0) / math.sqrt(DRAWS) + 1e-9
    return f"{name}: KL {exact[wrong].tolist()}, over draws {ratio.mean(0)[wrong].tolist()}" if wrong.any() else ""


def fit_off_by(name: str) -> str:
    """Return how badly draws of a guide's q, by torch and by `draw`, fit its density; empty where they do."""
    made = pair_of(name)
    with torch.no_grad(), local_parameters():
        q = made.guide.popularity.posterior(torch.arange(2))
        if isinstance(q, Delta):
            return ""
        torch.manual_seed(0)
        samples = {
            "torch's": q.sample((DRAWS // 10,)),
            "seeded": torch.from_numpy(draw(q, draws=DRAWS // 10, seed=0, keys=[0, 1])),
        }
        for kind, z in samples.items():
            for cell in range(2):
                p = auto_goodness_of_fit(z[:, cell], q.log_prob(z)[:, cell].exp(), dim=1)
                if p <= LEAST_P:
                    return f"{name}: {kind} draws fit with p = {p:.1e}"
    return ""


def paths_off() -> list[str]:
    """Return where the derivative of a Gamma draw by its shape is not -dF/da / f."""
    found = []
    for shape in SHAPES:
        torch.manual_seed(0)
        a = torch.full((200,), shape, dtype=torch.float64, requires_grad=True)
        z = torch.distributions.Gamma(a, torch.ones_like(a)).rsample()
        (slope,) = torch.autograd.grad(z.sum(), a)
        x, h = z.detach().numpy(), 1e-5 * shape
        kept = (x > 1e-12) & (stats.gamma.cdf(x, shape) < 0.999)
        by_shape = (stats.gamma.cdf(x, shape + h) - stats.gamma.cdf(x, shape - h)) / (2 * h)
        exact = -by_shape / stats.gamma.pdf(x, shape)
        error = np.abs(slope.numpy() / exact - 1)[kept]
        found += (
            []
            if np.median(error) <= PATH
            else [f"Gamma draws of shape {shape}: derivative off by {np.median(error):.1e}"]
        )
    return found


def gradients(folder: Path, quick: bool) -> Measured:
    """Check gradients of all pairs, KLs of all guides and priors, and draws of all guides."""
    every = configurations()
    first = {}  # one pair of each guide and prior; the model makes no difference to their KL
    for name in every:
        first.setdefault(tuple(name.split("/")[1:3]), name)
    of_kl = list(first.values())
    of_guide = list({name.split("/")[2]: name for name in of_kl}.values())
    if quick:
        every, of_kl, of_guide = every[::32], of_kl[::10], of_guide[::6]
    with pyro.validation_enabled(False):
        results = {
            "gradients": [off_by(name) for name in every],
            "KL": [kl_off_by(name) for name in of_kl],
            "draws": [fit_off_by(name) for name in of_guide],
        }
    off = [line for lines in results.values() for line in lines if line] + paths_off()
    words = ", ".join(f"{sum(not line for line in lines)} of {len(lines)} {name}" for name, lines in results.items())
    return Measured(f"{words} right", not off, tuple(off))


SECTIONS = [Section(14, "gradients, KLs and draws", "all of every registered pair", gradients, 4)]
