"""Does a step of a log of positives stay O(batch), and what do negatives cost? 10,000,000 positives against 100,000, in turns.

Every contestant trains with four negatives a positive, in batches of 16,384 rows with their negatives, and has point vectors
of 8 numbers, 100,000 users and 20,000 items; but for a short log of 2,000 users and 2,000 items, whose batches meet fewer users.
All run in one process and in turns, as in `step.py`, and ratios are taken as there: the median over turns of the ratio within
a turn. A draw is that of the negatives of one batch, as the step makes it. The start of an epoch is its first batch, without a
step.

The last line is `uniform=U popularity=P catalogue=C share=S popular_share=T`: a step at 10,000,000 positives over one at
100,000 with negatives drawn uniformly and by popularity, the former over the log of the small catalogue too, and the shares of
the draws in an epoch of 10,000,000 positives.
"""

from collections.abc import Callable
from itertools import count
from typing import Annotated

import numpy as np
import pandas as pd
import pyro
import typer
from step import endless, package_step, time_in_turns

from pyro_popbias.assembly.pair import Pair, assemble
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.study.study import Study

BATCH, NEGATIVES, DIM = 16_384, 4, 8
SIZE, SMALL_SIZE = (100_000, 20_000), (2_000, 2_000)  # users, items
KEPT = BATCH // (1 + NEGATIVES)  # positives of a batch
FEW, MANY = (size // KEPT * KEPT for size in (100_000, 10_000_000))  # whole batches, so that they are equally long
MODEL = "inverse-logistic"  # it takes both kinds of draws


def make_pair(rows: int, size: tuple[int, int], sampling: str) -> Pair:
    """Return a pair over synthetic positives, of which a few items and users have most.

    Args:
        rows: number of positives.
        size: number of users and of items.
        sampling: "uniform" or "popularity".
    """
    rng, (users, items) = np.random.default_rng(0), size
    share = 1 / np.arange(1, items + 1) ** 0.8
    item = rng.choice(items, size=rows, p=share / share.sum()).astype(np.int32)
    user = (users * rng.random(rows) ** 2).astype(np.int32)
    # by id, with every user and item among them
    ids = (pd.Index(np.arange(each).astype(str)) for each in size)
    study = Study(
        data={"negatives": NEGATIVES, "negative_sampling": sampling},
        model={"name": MODEL, "affinity": {"name": "embedding", "dim": DIM, "scale": 0.5, "posterior": "point"}},
        guide={"name": "gamma"},
        training={"batch_size": BATCH, "validation": 0.0, "device": "cpu"},
    )
    return assemble(Interactions(*ids, user=user, item=item), study)


def draw(pair: Pair) -> Callable[[], object]:
    """Return what draws the negatives of a batch, batch after batch."""
    rows, numbers = pair.rows, count()
    users = [batch.user[: batch.positives] for batch, _ in zip(endless(pair), range(50), strict=False)]
    assert rows._negatives is not None

    def of_batch() -> object:
        number = next(numbers)
        return rows._negatives.draw(users[number % len(users)], np.random.default_rng((0, 0, number)))

    return of_batch


def main(
    turns: Annotated[int, typer.Option(help="turns of all contestants")] = 15,
    steps: Annotated[int, typer.Option(help="timed steps of each in a turn")] = 4,
) -> None:
    """Time the steps and the draws in turns and print medians and ratios."""
    pyro.enable_validation(False)
    contestants: dict[str, Callable[[], object]] = {}
    for sampling in ("uniform", "popularity"):
        few, many = (make_pair(rows, SIZE, sampling) for rows in (FEW, MANY))
        contestants |= {
            f"{sampling}, {FEW:,}": package_step(few),
            f"{sampling}, {MANY:,}": package_step(many),
            f"{sampling}, {MANY:,}: draw": draw(many),
        }
    epochs = count(1)
    contestants |= {
        f"uniform, {FEW:,}, small catalogue": package_step(make_pair(FEW, SMALL_SIZE, "uniform")),
        f"start of an epoch, {MANY:,}": lambda: next(many.batches(epoch=next(epochs))),
    }
    few, many, drawn, few_popular, many_popular, drawn_popular, small, _ = time_in_turns(contestants, turns, steps)
    pairs = ((many, few), (many_popular, few_popular), (many, small), (drawn, many), (drawn_popular, many_popular))
    text = "uniform={:.2f} popularity={:.2f} catalogue={:.2f} share={:.3f} popular_share={:.3f}"
    print(text.format(*(np.median(a / b) for a, b in pairs)))


if __name__ == "__main__":
    typer.run(main)
