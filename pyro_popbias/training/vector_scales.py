"""How the scales of vectors are learned, and their number of dimensions found, between the epochs of phase one.

| epochs | what is done |
| --- | --- |
| the first fifth | scales and variances are held: means leave 0 as those of point vectors do |
| its end, and twice later | axes are turned to the principal ones, and dimensions that the data do not need are dropped |
| every one after | variances follow the curvature, scales their fixed point, and the size of each dimension a Newton step |
| the last two fifths | the learning rate falls |

Held-out rows may keep a dimension and do not end a training: by them it would stop before its scales have settled.

* **Variances.** At the optimum of the ELBO, to second order, the precision of a row is 1/s_k^2 + sum over its
  interactions of w (m_k^2 + v_k), with w the Fisher information of the label about x, m and v those of the other side's row.
* **Scales** by MacKay's fixed point (1992), which has the optima of the M step s_k^2 = mean(m^2 + v) and comes to them faster:
  s_k^2 = sum m^2 / sum (1 - v / s_k^2), over the rows of both tables.
* **Axes.** The likelihood does not change when both tables are turned, or stretched against each other. The ELBO is
  largest where the means of both have orthogonal columns of equal size (Luttinen and Ilin 2010).
* **Sizes.** The sizes of whole dimensions and the intercept are few numbers that gradients move slowly. x as a regression on
  u_k . i_k has one slope for each dimension; the KL does not change when rows and s_k are stretched together.
* **Dropping.** A dimension stays where the expected log-likelihood that it adds is at least `WORTH` times its KL, just above
  what the largest directions of noise came to on simulated data; or where it adds `PREDICTS` standard errors to the log-score
  of held-out rows. The second finds tastes that few items have rows enough for: the KL counts all of its coordinates, and a
  mean-field ELBO is loose by more the fewer rows there are.
* **Linear response** (Opper and Winther 2001; the variances of approximate message passing, Lesieur et al. 2017): means react to
  each other, so that a mean-field variance is too small. At the end w (m_k^2 + v_k) becomes w m_k^2.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar, final

import torch
from pyro.distributions import Delta
from torch import Tensor

from pyro_popbias.assembly.pair import Pair
from pyro_popbias.models.affinities.affinity import INTERCEPT_SCALE
from pyro_popbias.models.affinities.bayesian_embedding import SCALE_CENTRE, BayesianEmbeddingAffinity
from pyro_popbias.models.affinities.item_quality import FEATURES
from pyro_popbias.models.affinities.item_quality import SITE as QUALITY
from pyro_popbias.models.affinities.row_bias import RowBias
from pyro_popbias.models.conformity import SITE as CONFORMITY
from pyro_popbias.sparse_lookup import set_parameter
from pyro_popbias.training.gain import expected_slopes, gains, held_out_gains
from pyro_popbias.training.information import variance_of_cells
from pyro_popbias.training.quality_response import marginal_variance
from pyro_popbias.training.quality_weights import regress_quality
from pyro_popbias.training.vectors import Table, Vectors, affinities, affinity_of

HELD, FALLS, LOWEST = 0.2, 0.6, 0.05  # shares of the epochs; the last factor of the learning rate
TURNS = (HELD, 0.35, 0.5)  # shares of the epochs after which axes are turned
WORTH, PREDICTS = 0.68, 3.0  # shares of the KL, and standard errors, from which a dimension is kept
LARGEST_STEP = 0.2  # of the size of a dimension, and of the intercept in logits
SMALLEST = 1e-3  # scale
ROUNDS = 3  # of variances and scales after a turn


@final
class VectorScales:
    """The schedule of learned scales in a training.

    Args:
        pair: what is trained.
    """

    rate: ClassVar[float] = 3.0  # times the learning rate: vectors have to leave 0 while scales are held

    def __init__(self, pair: Pair) -> None:
        self._pair, self._epochs = pair, pair.study.training.epochs
        self._held = max(1, round(HELD * self._epochs))
        self._turns = {max(1, round(share * self._epochs)) for share in TURNS}

    @classmethod
    def of(cls, pair: Pair) -> "VectorScales | None":
        """Return the schedule of a pair, or None where no scales of vectors are learned."""
        affinity = pair.model.affinity
        return cls(pair) if isinstance(affinity, BayesianEmbeddingAffinity) and affinity.learned else None

    @staticmethod
    def holds(name: str) -> bool:
        """Return whether a parameter is set here, and not by gradients: scales, variances, and the weights of qualities."""
        if name.startswith(f"guide.affinity.{FEATURES}"):
            return True
        if CONFORMITY in name:
            return False
        return name.startswith(("model.affinity", "guide.affinity")) and name.endswith("log_scale_unconstrained")

    def factor(self, epoch: int) -> float:
        """Return the factor of the learning rate after some epochs."""
        share = (epoch / self._epochs - FALLS) / (1 - FALLS)
        return float(LOWEST ** max(0.0, share))

    @torch.no_grad()
    def update(self, epoch: int) -> bool:
        """Bring vectors up to date after some epochs; return whether they have moved so far that Adam has to forget.

        Args:
            epoch: number of epochs done.
        """
        pair = self._pair
        if epoch < self._held:
            return False
        turns = epoch in self._turns
        if turns:
            turned(Vectors.of(pair)).write(pair)
            for _ in range(ROUNDS):
                rescaled(curved(pair)).write(pair)
            worth, cost = gains(pair)
            predicts = held_out_gains(pair) >= PREDICTS  # NaN, and so not, where no rows are held out
            Vectors.of(pair).kept((worth >= WORTH * cost) | predicts).write(pair)
        regress_quality(pair)
        rescaled(curved(pair)).write(pair)
        if epoch > self._held:
            step_of_sizes(pair)
        if epoch == self._epochs:
            curved(pair, linear_response=True).write(pair)
        return turns


def curved(pair: Pair, *, linear_response: bool = False) -> Vectors:
    """Return the vectors of a pair with the variances that the curvature gives them.

    Args:
        pair: the pair.
        linear_response: whether variances include that the means of both tables react to each other.
    """
    vectors = Vectors.of(pair)
    user, item = torch.zeros_like(vectors.user.mean), torch.zeros_like(vectors.item.mean)
    sides = {site: bias.side for site, bias in affinity_of(pair).row_biases.items()}
    of_biases = {site: torch.zeros_like(table.mean) for site, table in vectors.biases.items()}
    of_cells, both = (torch.zeros_like(pair.rows.cell_count) for _ in range(2))
    for part in affinities(pair):
        batch = part.batch
        of = pair.model.information(batch, part.mean, part.popularity)
        w, cell = of.affinity.unsqueeze(-1), batch.cell.index_select(0, batch.cell_index)
        of_cells.index_add_(0, cell, of.popularity)
        both.index_add_(0, cell, of.both)
        for total, own, other, table in (
            (user, batch.user, batch.item, vectors.item),
            (item, batch.item, batch.user, vectors.user),
        ):
            rows = table.of(other)
            squares = rows.mean.square()
            total.index_add_(0, own, w * (squares if linear_response else squares + rows.variance))
        for site, side in sides.items():
            of_biases[site].index_add_(0, batch.user if side == "user" else batch.item, w)
    user, item, of_cells, both = (pair.rows.total(each) for each in (user, item, of_cells, both))
    of_biases = {site: pair.rows.total(each) for site, each in of_biases.items()}
    prior = vectors.scale**-2
    biases = {
        # rows that no label is of are as one expects them: training has left them where they started
        site: Table(
            torch.where(of_biases[site] > 0, table.mean, vectors.bias_means.get(site, table.mean)),
            1 / (of_biases[site] + vectors.bias_scales[site] ** -2),
        )
        for site, table in vectors.biases.items()
    }
    return replace(
        vectors,
        user=Table(vectors.user.mean, 1 / (user + prior)),
        item=Table(vectors.item.mean, 1 / (item + prior)),
        biases=biases,
        bias_variances=_with_popularity(pair, biases, of_cells, both),
    )


def _with_popularity(pair: Pair, biases: Mapping[str, Table], of_cells: Tensor, both: Tensor) -> dict[str, Tensor]:
    """Return the variance of qualities where popularity moves with them, by their site; empty where there are none.

    Args:
        pair: the pair.
        biases: with their variances where everything else is known.
        of_cells: `(C,)` information of labels about popularity.
        both: `(C,)` about popularity and quality.
    """
    if QUALITY not in biases or pair.rows.latent != "item":
        return {}
    q = pair.guide.popularity.posterior(torch.arange(len(of_cells), device=pair.device))
    if isinstance(q, Delta):
        return {}
    of_cell = variance_of_cells(pair, q, of_cells)
    return {QUALITY: marginal_variance(biases[QUALITY].variance.squeeze(-1), of_cell, both).unsqueeze(-1)}


def rescaled(vectors: Vectors) -> Vectors:
    """Return the vectors with scales one step further in MacKay's fixed point, by a factor of 2 at most."""
    bias_scales = {
        site: _fixed_point(
            vectors.bias_scales[site],
            RowBias.start_scale,
            Table(table.mean - vectors.bias_means.get(site, 0.0), vectors.bias_variances.get(site, table.variance)),
        )
        for site, table in vectors.biases.items()
    }
    scale = _fixed_point(vectors.scale, SCALE_CENTRE, vectors.user, vectors.item)
    return replace(vectors, scale=scale, bias_scales=bias_scales)


def _fixed_point(scale: Tensor, centre: float, *tables: Table) -> Tensor:
    """Return the next scale of each column of some tables that share it, with the prior log scale ~ Normal(log centre, 1)."""
    before = scale.square()
    determined = torch.stack([(1 - table.variance / before).clamp(min=1e-6).sum(0) for table in tables]).sum(0)
    squares = torch.stack([table.mean.square().sum(0) for table in tables]).sum(0)
    # d/d log s of the ELBO and the prior: sum (m^2 + v) / s^2 - rows - log(s / centre) = 0
    after = (squares / (determined + (scale / centre).log()).clamp(min=1e-6)).clamp(min=0.25 * before, max=4 * before)
    return after.clamp(min=SMALLEST**2).sqrt()


def turned(vectors: Vectors) -> Vectors:
    """Return the vectors on their principal axes, the largest first, with rows of both tables of equal size.

    There are no more axes than users or items: where there were more dimensions, fewer are left.
    """
    (q_user, r_user), (q_item, r_item) = (torch.linalg.qr(table.mean) for table in (vectors.user, vectors.item))
    left, size, right = torch.linalg.svd(r_user @ r_item.T, full_matrices=False)
    balance = (len(q_user) / len(q_item)) ** 0.25
    stretch = size.clamp(min=1e-12).sqrt()
    user, item = (q_user @ left) * stretch * balance, (q_item @ right.T) * stretch / balance
    squares = (user.square().sum(0) + item.square().sum(0)) / (len(user) + len(item))
    scale = squares.clamp(min=1e-4).sqrt()
    half = 0.5 * scale.square()  # of the prior's variance, until the curvature is known
    return replace(
        vectors,
        user=Table(user, half.expand_as(user)),
        item=Table(item, half.expand_as(item)),
        scale=scale,
    )


def step_of_sizes(pair: Pair) -> None:
    """Take a Newton step in the sizes of all dimensions and in the intercept, popularity held."""
    vectors, intercept = Vectors.of(pair), pair.model.affinity.intercept
    dim = len(vectors.scale)
    slope = torch.zeros(1 + dim, dtype=torch.float64, device=intercept.device)
    curvature = torch.zeros(1 + dim, 1 + dim, dtype=torch.float64, device=intercept.device)
    for part in affinities(pair):
        mean, variance = vectors.products(part.batch)
        regressors = torch.cat([mean.new_ones(len(mean), 1), mean], dim=1)
        first, second = expected_slopes(pair, part)
        w = pair.model.information(part.batch, part.mean, part.popularity).affinity
        slope += first @ regressors
        slope[1:] += second @ variance
        of_part = regressors.T @ (w.unsqueeze(-1) * regressors)
        of_part.diagonal()[1:] += w @ variance
        curvature += of_part
    slope, curvature = pair.rows.total(slope), pair.rows.total(curvature)
    slope[0] -= intercept / INTERCEPT_SCALE**2
    curvature[0, 0] += INTERCEPT_SCALE**-2
    step: Tensor = torch.linalg.solve(curvature, slope).clamp(-LARGEST_STEP, LARGEST_STEP)
    stretch = (1 + step[1:]).sqrt()
    user, item = vectors.user.scaled(stretch), vectors.item.scaled(stretch)
    replace(vectors, user=user, item=item, scale=vectors.scale * stretch).write(pair)
    set_parameter(pair.model.affinity, "intercept", intercept + step[0])
