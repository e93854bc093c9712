"""Installed libraries behind the interface of the baselines: implicit's ALS and BPR, cornac's PMF and HPF.

They are the extra `bench` of setup.cfg. `PEERS` has those that are installed, `SKIPPED` says why others are not there.
"""

import abc
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import redirect_stdout
from importlib.util import find_spec
from io import StringIO
from typing import Any, final

import numpy as np
from scipy import sparse

from .baseline import Baseline
from .log import Log
from .sampling import Sampler

CHUNK = 5  # epochs of cornac between two looks


class Peer(Baseline):
    """A library's model that is fitted some iterations at a time, going on from its own vectors.

    Attributes:
        model: the library's.
        most_epochs: after how many training ends.
    """

    def __init__(self, log: Log, *, seed: int, most_epochs: int = 100) -> None:
        super().__init__(log, seed=seed)
        self.most_epochs = most_epochs
        self.model: Any = None

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """Attributes of the model that training changes; vectors of users first, of items second."""

    def vectors(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the vectors of users and of items."""
        user, item = (np.asarray(getattr(self.model, name)) for name in self.names[:2])
        return user, item

    def score(self, users: np.ndarray) -> np.ndarray:
        """Return the products of vectors."""
        user, item = self.vectors()
        return (user[users] @ item.T).astype(np.float32)

    def state(self) -> dict[str, Any]:
        """Return a copy of the vectors."""
        return {name: np.array(getattr(self.model, name)) for name in self.names}

    def restore(self, state: dict[str, Any]) -> None:
        """Set the vectors."""
        for name, value in state.items():
            setattr(self.model, name, np.array(value))


class ImplicitPeer(Peer):
    """A model of implicit on the log's positives."""

    names = ("user_factors", "item_factors")

    def epochs(self) -> Iterator[int]:
        """Train, an iteration at a time."""
        rows = self.log.positive
        pair = (self.log.user[rows], self.log.item[rows])
        matrix = sparse.csr_matrix((np.ones(len(rows), np.float32), pair), shape=(self.log.users, self.log.items))
        matrix.sum_duplicates()
        for epoch in range(1, self.most_epochs + 1):
            self.model.fit(matrix, show_progress=False)
            yield epoch


@final
class ImplicitALS(ImplicitPeer):
    """ALS on confidences 1 + alpha (Hu, Koren, Volinsky 2008, Collaborative filtering for implicit feedback datasets)."""

    grid = [  # noqa: RUF012
        {"regularization": weight, "alpha": alpha} for weight in (0.01, 1.0, 10.0, 100.0) for alpha in (1.0, 10.0, 40.0)
    ]

    def __init__(
        self, log: Log, *, seed: int, dim: int = 64, regularization: float = 0.01, alpha: float = 1.0, **setting: Any
    ) -> None:
        """Make the model; for its settings see implicit."""
        from implicit.cpu.als import AlternatingLeastSquares

        super().__init__(log, seed=seed, **setting)
        self.model = AlternatingLeastSquares(
            factors=dim, regularization=regularization, alpha=alpha, iterations=1, num_threads=1, random_state=seed
        )


@final
class ImplicitBPR(ImplicitPeer):
    """BPR with an intercept for each item, by SGD (Rendle, Freudenthaler, Gantner, Schmidt-Thieme 2009)."""

    grid = [  # noqa: RUF012
        {"regularization": weight, "learning_rate": rate} for weight in (0.001, 0.01, 0.1) for rate in (0.01, 0.05, 0.1)
    ]

    def __init__(
        self,
        log: Log,
        *,
        seed: int,
        dim: int = 64,
        regularization: float = 0.01,
        learning_rate: float = 0.05,
        **setting: Any,
    ) -> None:
        """Make the model; for its settings see implicit."""
        from implicit.cpu.bpr import BayesianPersonalizedRanking

        super().__init__(log, seed=seed, **setting)
        self.model = BayesianPersonalizedRanking(
            factors=dim,
            regularization=regularization,
            learning_rate=learning_rate,
            iterations=1,
            num_threads=1,
            random_state=np.random.default_rng(seed),  # an object, so that the next iteration draws other rows
        )


class CornacPeer(Peer):
    """A model of cornac."""

    @abc.abstractmethod
    def ratings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return users, items and ratings of the rows, each `(M,)`."""

    def epochs(self) -> Iterator[int]:
        """Train, some iterations at a time."""
        from cornac.data import Dataset

        ids = (OrderedDict((code, code) for code in range(number)) for number in (self.log.users, self.log.items))
        rows = Dataset(self.log.users, self.log.items, *ids, self.ratings(), seed=self.seed)
        for epoch in range(CHUNK, self.most_epochs + CHUNK, CHUNK):
            with warnings.catch_warnings(), redirect_stdout(StringIO()):  # HPF prints, whatever `verbose` says
                # it says that the model is overwritten, but fit begins from the vectors that are there
                warnings.filterwarnings("ignore", message="Model is already fitted", category=UserWarning)
                self.model.fit(rows)
            yield epoch


@final
class CornacPMF(CornacPeer):
    """sigma(u.v) with squared error (Mnih, Salakhutdinov 2007, Probabilistic matrix factorization), or u.v ("linear").

    A log of positives alone has `negatives` for each drawn once, with rating 0.
    """

    grid = [  # noqa: RUF012
        {"regularization": weight, "learning_rate": rate} for weight in (1e-3, 1e-2, 1e-1) for rate in (1e-3, 1e-2)
    ]
    names = ("U", "V")

    def __init__(
        self,
        log: Log,
        *,
        seed: int,
        dim: int = 64,
        regularization: float = 1e-3,
        learning_rate: float = 1e-2,
        negatives: int = 4,
        **setting: Any,
    ) -> None:
        """Make the model; for its settings see cornac."""
        from cornac.models import PMF

        super().__init__(log, seed=seed, **setting)
        self.negatives = negatives
        self.model = PMF(k=dim, max_iter=CHUNK, learning_rate=learning_rate, lambda_reg=regularization, seed=seed)

    def ratings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the labelled rows, or positives and negatives."""
        if self.log.label is not None:
            return self.log.user, self.log.item, self.log.label.astype(float)
        sampler = Sampler(self.log, draw="rows", seed=self.seed)
        negative = sampler.negatives(sampler.user, self.negatives).numpy()
        user = np.concatenate([self.log.user, np.repeat(self.log.user, self.negatives)])
        label = np.concatenate([np.ones(len(self.log.user)), np.zeros(negative.size)])
        return user, np.concatenate([self.log.item, negative.ravel()]), label


@final
class CornacHPF(CornacPeer):
    """Counts of positives are Poisson (Gopalan, Hofman, Blei 2015, Scalable recommendation with Poisson factorization)."""

    grid = [{"dim": dim} for dim in (8, 16, 32, 64)]  # noqa: RUF012
    names = ("Theta", "Beta", "Gs", "Gr", "Ls", "Lr")

    def __init__(self, log: Log, *, seed: int, dim: int = 32, **setting: Any) -> None:
        """Make the model; for its settings see cornac."""
        from cornac.models import HPF

        super().__init__(log, seed=seed, **setting)
        self.model = HPF(k=dim, max_iter=CHUNK, seed=seed)

    def ratings(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the positives."""
        rows = self.log.positive
        return self.log.user[rows], self.log.item[rows], np.ones(len(rows))


_ALL: dict[str, tuple[str, type[Baseline]]] = {
    "implicit_als": ("implicit", ImplicitALS),
    "implicit_bpr": ("implicit", ImplicitBPR),
    "cornac_pmf": ("cornac", CornacPMF),
    "cornac_hpf": ("cornac", CornacHPF),
}
PEERS = {name: peer for name, (package, peer) in _ALL.items() if find_spec(package)}
SKIPPED = {
    name: f"{package} is not installed; pip install -c constraints.txt {package}"
    for name, (package, _) in _ALL.items()
    if name not in PEERS
}
