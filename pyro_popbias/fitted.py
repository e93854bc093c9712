"""A fit: what a user holds after training. Every result is a frame with the user's own ids."""

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import EllipsisType
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
import xarray as xr
from torch import Tensor
from torch.distributions import Distribution

from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.guides import PopularityGuide
from pyro_popbias.ids import as_text
from pyro_popbias.inference_data import to_inference_data
from pyro_popbias.interactions import Catalogue, Interactions, as_frame, check_columns
from pyro_popbias.intervention import check_mode, scores
from pyro_popbias.models import PopularityModel
from pyro_popbias.pairing import assemble, finite_score, with_names
from pyro_popbias.posterior import check_interval, draw, parameter_table, popularity_table
from pyro_popbias.progress import TrainingProgress
from pyro_popbias.registry import nearest
from pyro_popbias.sections import Fixed
from pyro_popbias.storage import read_run, save
from pyro_popbias.study import Study
from pyro_popbias.training import train

BLOCK_ELEMENTS = 8_000_000  # of a users x items block
GROUPS = ("posterior", "prior", "observed_data", "constant_data")
LARGEST = 2 * 1024**3  # bytes of an ArviZ container


@dataclass(frozen=True, eq=False)
class Fit:
    """A trained pair.

    Attributes:
        study: what was declared.
        catalogue: ids and counts.
        model: the trained model.
        guide: the trained guide.
        history: one row an epoch, in nats and seconds.
        events: the interactions; None where a run was saved without them.
    """

    study: Study
    catalogue: Catalogue
    model: PopularityModel
    guide: PopularityGuide
    history: pd.DataFrame
    events: Interactions | None

    def popularity(self, interval: float = 0.9) -> pd.DataFrame:
        """Return the popularity posteriors, one row a cell, conditional on the estimated affinities.

        Args:
            interval: probability between lower and upper.
        """
        return popularity_table(self.model, self.guide, self.catalogue, interval=interval)

    def parameters(self, interval: float = 0.9) -> pd.DataFrame:
        """Return the learned global parameters: name, mean, sd, lower, upper; sd is NaN where point-estimated."""
        check_interval(interval)
        return parameter_table(self.model)

    def predict(
        self,
        frame: pd.DataFrame,
        popularity: str = "population",
        interval: float = 0.9,
        unseen: Literal["error", "prior", "drop"] = "error",
    ) -> pd.DataFrame:
        """Return P(c=1 | do(u,i)) of pairs, in the frame's order.

        Args:
            frame: columns user and item.
            popularity: which law of popularity to integrate over: "population", "posterior" or "none".
            interval: share of popularity's mass between lower and upper, which is how far popularity moves the
                probability and no error bar of the score.
            unseen: what to do with ids that the fit does not know.

        Returns:
            user, item, score, lower, upper (probabilities), score_sd (NaN: affinities are point estimates).

        Raises:
            DataError: a column is missing, or ids are unseen.
            UnknownNameError: there is no such mode.
        """
        mode, interval = check_mode(popularity), check_interval(interval)
        frame = as_frame(frame).reset_index(drop=True)
        check_columns(frame, ["user", "item"])
        pairs = pd.DataFrame({name: as_text(frame[name], name) for name in ("user", "item")})
        user, item = (
            self.catalogue.users.get_indexer(pd.Index(pairs["user"])),
            self.catalogue.items.get_indexer(pd.Index(pairs["item"])),
        )
        keep = self._keep(pairs, user, item, unseen)
        user, item, pairs = user[keep], item[keep], pairs[keep].reset_index(drop=True)
        affinity = self._pair_affinity(frame[keep], user, item)
        law: Distribution | None = None
        if mode == "population":
            law = self.model.prior.population()
        elif mode == "posterior":
            law = self._posterior_law(item)
        result = scores(self.model, affinity, law, interval=interval)
        parts = {"score": result.score, "lower": result.lower, "upper": result.upper}
        return pairs.assign(**{name: _numpy(part) for name, part in parts.items()}, score_sd=np.nan)

    def _keep(self, pairs: pd.DataFrame, user: np.ndarray, item: np.ndarray, unseen: str) -> np.ndarray:
        known = (user >= 0) & (item >= 0)
        if unseen not in ("error", "prior", "drop"):
            raise ConfigError(
                f"PB-C012: unseen={unseen!r}{nearest(str(unseen), ['error', 'prior', 'drop'])} Choices: error, prior, drop"
            )
        if unseen == "error" and not known.all():
            shown = [
                f"{int((codes < 0).sum())} rows of unseen {name}s ({', '.join(pairs[name][codes < 0].unique()[:5])})"
                for name, codes in (("user", user), ("item", item))
                if (codes < 0).any()
            ]
            raise DataError(
                f"PB-D048: {' and '.join(shown)} in {len(pairs)} pairs; pass unseen='prior' for the prior mean of their "
                "affinity, or unseen='drop'"
            )
        return known if unseen == "drop" else np.ones(len(pairs), dtype=bool)

    def _pair_affinity(self, frame: pd.DataFrame, user: np.ndarray, item: np.ndarray) -> Tensor:
        section = self.study.model.affinity
        score = None
        if isinstance(section, Fixed) and section.score is not None:
            check_columns(frame, [section.score])
            values = finite_score(frame[section.score].to_numpy(dtype="float64", copy=True), section.score)
            score = torch.from_numpy(values).to(self._device)
        with torch.no_grad():
            return self.model.affinity.pairs(self._tensor(user), self._tensor(item), score)

    @property
    def _device(self) -> torch.device:
        return self.guide.rows.device

    def _tensor(self, codes: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(codes, dtype=np.int64)).to(self._device)

    def _last_cells(self) -> np.ndarray:
        """Return each item's last cell with rows, `(K,)`."""
        count = self.catalogue.count.reshape(-1, self.catalogue.periods)
        last = self.catalogue.periods - 1 - np.argmax(count[:, ::-1] > 0, axis=1)
        return np.arange(len(count)) * self.catalogue.periods + last

    def _posterior_law(self, item: np.ndarray) -> Distribution:
        """Return q of each item's last observed cell; the prior's nearest member where an item has none."""
        cells = self._last_cells()
        with torch.no_grad():
            rows = self.guide.rows[self._tensor(cells[np.maximum(item, 0)])]
            silent = (item < 0) | (self.catalogue.count[cells[np.maximum(item, 0)]] == 0)
            start = self.guide.start(self.model.prior.population())
            rows = torch.where(torch.from_numpy(silent).to(self._device).unsqueeze(-1), start, rows)
            return self.guide.law(rows)

    def recommend(
        self,
        users: Iterable[Any] | None = None,
        k: int = 10,
        popularity: str = "population",
        exclude_seen: bool = True,
    ) -> pd.DataFrame:
        """Return each user's k items of highest P(c=1 | do(u,i)).

        Args:
            users: ids; all users by default.
            k: items a user.
            popularity: "population", "posterior" or "none", as in `predict`.
            exclude_seen: leave out items that the user has a row of, whatever its label.

        Returns:
            user, rank (from 1), item, score, lower, upper.

        Raises:
            DataError: users are unseen, or seen items are to be excluded and the run holds no interactions.
        """
        mode = check_mode(popularity)
        if isinstance(k, bool) or not isinstance(k, int) or k < 1:
            raise ConfigError(f"PB-C084: k must be a whole number from 1, not {k!r}")
        codes = self._user_codes(users)
        seen = self._seen() if exclude_seen else None
        items = np.arange(len(self.catalogue.items))
        law = {"population": self.model.prior.population, "none": lambda: None}.get(
            mode, lambda: self._posterior_law(items)
        )()
        size = max(1, BLOCK_ELEMENTS // len(items))
        blocks = [
            self._top(codes[start : start + size], min(k, len(items)), law, seen)
            for start in range(0, max(1, len(codes)), size)
        ]
        return pd.concat(blocks, ignore_index=True)

    def _user_codes(self, users: Iterable[Any] | None) -> np.ndarray:
        if users is None:
            return np.arange(len(self.catalogue.users))
        chosen = list(users)
        if not chosen:
            return np.arange(0)
        ids = as_text(pd.Series(chosen), "users")
        codes = self.catalogue.users.get_indexer(pd.Index(ids))
        if (codes < 0).any():
            unknown = ids[codes < 0]
            raise DataError(f"PB-D048: {len(unknown)} unseen users, first {', '.join(unknown[:5])}; leave them out")
        return np.asarray(codes)

    def _seen(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the items of all users, and where each user's begin, `(users + 1,)`."""
        if self.events is None:
            raise DataError("PB-D106: the run was saved without its interactions (--no-data); pass exclude_seen=False")
        order = np.argsort(self.events.user, kind="stable")
        counts = np.bincount(self.events.user, minlength=len(self.catalogue.users))
        return self.events.item[order], np.concatenate([[0], np.cumsum(counts)])

    def _top(
        self, codes: np.ndarray, k: int, law: Distribution | None, seen: tuple[np.ndarray, np.ndarray] | None
    ) -> pd.DataFrame:
        with torch.no_grad():
            affinity = self.model.affinity.table(self._tensor(codes))
            score = torch.sigmoid(affinity) if law is None else self.model.probability(affinity, law)
            if seen is not None:
                items, starts = seen
                length = starts[codes + 1] - starts[codes]
                seen_row = np.repeat(np.arange(len(codes)), length)
                column = np.concatenate([items[:0], *(items[starts[code] : starts[code + 1]] for code in codes)])
                score[self._tensor(seen_row), self._tensor(column)] = -torch.inf
            best, item = torch.topk(score, k, dim=1)
            row = torch.arange(len(codes), device=item.device).unsqueeze(1).expand_as(item)[best > -torch.inf]
            rank = torch.arange(1, k + 1, device=item.device).expand_as(item)[best > -torch.inf]
            item = item[best > -torch.inf]
            chosen = None if law is None else self._of_items(law, item)
            result = scores(self.model, affinity[row, item], chosen, interval=0.9)
        return pd.DataFrame(
            {
                "user": self.catalogue.users[codes[_numpy(row)]],
                "rank": _numpy(rank),
                "item": self.catalogue.items[_numpy(item)],
                "score": _numpy(result.score),
                "lower": _numpy(result.lower),
                "upper": _numpy(result.upper),
            }
        )

    def _of_items(self, law: Distribution, item: Tensor) -> Distribution:
        return self._posterior_law(_numpy(item)) if law.batch_shape else law

    def to_arviz(
        self,
        draws: int = 1000,
        items: Iterable[Any] | None = None,
        groups: tuple[str, ...] = GROUPS,
        seed: int = 0,
    ) -> Any:
        """Return the posterior, the prior and the data as ArviZ's container, with item ids as coordinates.

        Args:
            draws: draws of each cell, in one chain.
            items: ids; all items by default.
            groups: some of posterior, prior, observed_data, constant_data.
            seed: decides the draws; an item has the same draws in any selection.

        Raises:
            ConfigError: a group is unknown, or the draws would take more than 2 GiB.
            DataError: items are unseen.
        """
        if isinstance(draws, bool) or not isinstance(draws, int) or draws < 1:
            raise ConfigError(f"PB-C084: draws must be a whole number from 1, not {draws!r}")
        for group in groups:
            if group not in GROUPS:
                raise ConfigError(
                    f"PB-C013: unknown group {group!r}{nearest(group, GROUPS)} Groups: {', '.join(GROUPS)}"
                )
        chosen = self.catalogue.items if items is None else pd.Index(as_text(pd.Series(list(items)), "items"))
        code = self.catalogue.items.get_indexer(chosen)
        if (code < 0).any():
            raise DataError(f"PB-D049: {(code < 0).sum()} unseen items, first {', '.join(chosen[code < 0][:5])}")
        periods = self.catalogue.periods
        cell = (code[:, None] * periods + np.arange(periods)).ravel()
        size = 8 * draws * len(cell) * len({"posterior", "prior"} & set(groups))
        if size > LARGEST:
            raise ConfigError(
                f"PB-C088: {draws} draws of {len(cell)} cells take {size / 1024**3:.1f} GiB, more than 2; "
                "pass fewer draws, or items="
            )
        dims, coords = (
            ["item", "period"],
            {"item": chosen.to_numpy(dtype=object).astype(str), "period": np.arange(periods)},
        )
        if periods == 1:
            dims, coords = dims[:1], {"item": coords["item"]}
        makers = {
            "posterior": lambda: self._draws(cell, draws, seed, dims, coords, prior=False),
            "prior": lambda: self._draws(cell, draws, seed, dims, coords, prior=True),
            "observed_data": self._observed,
            "constant_data": lambda: self._constants(cell, dims, coords),
        }
        return to_inference_data({group: makers[group]() for group in groups})

    def _draws(
        self, cell: np.ndarray, draws: int, seed: int, dims: list[str], coords: Mapping[str, Any], *, prior: bool
    ) -> xr.Dataset:
        with torch.no_grad():
            law = self.model.prior.law(self._tensor(cell))
            if prior:
                values = draw(law, draws=draws, seed=seed + 1, keys=cell)
            else:
                values = draw(self.guide.posterior(self._tensor(cell)), draws=draws, seed=seed, keys=cell)
                silent = self.catalogue.count[cell] == 0
                if silent.any():
                    law = self.model.prior.law(self._tensor(cell[silent]))
                    values[:, silent] = draw(law, draws=draws, seed=seed, keys=cell[silent])
        shape = (1, draws, *(len(coords[dim]) for dim in dims))
        array = (["chain", "draw", *dims], values.reshape(shape))
        return xr.Dataset({"popularity": array}, coords={"chain": [0], "draw": np.arange(draws), **coords})

    def _observed(self) -> xr.Dataset:
        if self.events is None or self.events.label is None:
            raise DataError("PB-D106: the run was saved without its interactions (--no-data); leave out observed_data")
        return xr.Dataset(
            {"label": (["interaction"], self.events.label)}, coords={"interaction": np.arange(len(self.events))}
        )

    def _constants(self, cell: np.ndarray, dims: list[str], coords: Mapping[str, Any]) -> xr.Dataset:
        shape = tuple(len(coords[dim]) for dim in dims)
        columns = {"count": self.catalogue.count, "positives": self.catalogue.positives}
        return xr.Dataset(
            {name: (dims, values[cell].reshape(shape)) for name, values in columns.items()}, coords=coords
        )

    def save(self, path: str | Path) -> None:
        """Write the fit to a new folder; see `pb.load`.

        Raises:
            RunFolderError: the folder exists and is not empty, or cannot be written.
        """
        save(self, Path(path))


def fit(
    events: Interactions,
    *,
    study: Study | None = None,
    model: str | None = None,
    guide: str | None = None,
    seed: int | EllipsisType | None = ...,
    progress: bool = True,
) -> Fit:
    """Train a study, or named model and guide with the study's other defaults, on interactions.

    Args:
        events: labelled interactions.
        study: the study; its defaults where left out.
        model: name of a model, in place of the study's.
        guide: name of a guide, in place of the study's.
        seed: in place of the study's; None draws one and records it.
        progress: whether to show progress on standard error.

    Raises:
        DataError: the data hold one class only, or lack what the study needs.
        ConfigError: the study cannot be carried out here.
        NumericalError: the optimisation met values that are not finite.
    """
    study = with_names(study or Study(), model=model, guide=guide)
    if seed is not ...:
        training = study.training.model_dump() | {"seed": secrets.randbits(32) if seed is None else seed}
        study = Study(**{**{name: getattr(study, name) for name in ("data", "model", "guide")}, "training": training})
    pair = assemble(events, study)
    with TrainingProgress(study.training.epochs, show=progress) as bar:
        history = train(pair, on_epoch=lambda state: bar(state.phase, state.history[-1]))
    return Fit(study, events.catalogue, pair.model, pair.guide, history, events)


def load(path: str | Path) -> Fit:
    """Return the fit of a run folder; its predictions equal those of the fit that was saved, bit for bit.

    Raises:
        RunFolderError: there is no such folder, or it holds no finished run.
        CorruptCheckpointError: a file is not what was written.
        SchemaVersionError: the folder was written by an incompatible version.
    """
    return Fit(**read_run(path))


def _numpy(tensor: Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().cpu().numpy())
