"""A fit: what a user holds after training. Every result is a frame with the user's own ids."""

from collections.abc import Iterable
from dataclasses import fields, replace
from pathlib import Path
from types import EllipsisType
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from pyro_popbias.assembly.pair import with_names
from pyro_popbias.assembly.training_data import finite_score
from pyro_popbias.checks.check import Check, check
from pyro_popbias.data.frames import as_frame, check_columns
from pyro_popbias.data.ids import as_text
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.errors import ConfigError, DataError
from pyro_popbias.inference_data.convert import GROUPS, container
from pyro_popbias.prediction.intervention import Scores, check_mode
from pyro_popbias.prediction.posterior_tables import check_interval
from pyro_popbias.prediction.scorer import Scorer, Seen
from pyro_popbias.registry import nearest
from pyro_popbias.storage.reading import read_run
from pyro_popbias.storage.run_folder import save
from pyro_popbias.study.sections import FixedAffinityConfig
from pyro_popbias.study.study import Study
from pyro_popbias.trained import Trained
from pyro_popbias.training.restarts import Checkpointing, best_of, train_restarts
from pyro_popbias.validation import require_integer


class Fit(Trained):
    """A trained pair, and what a user asks of it."""

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
            popularity: which distribution of popularity to integrate over: "population", "prior", "posterior" or
                "none".
            interval: share of popularity's mass between lower and upper, which is how far popularity moves the
                probability and no error bar of the score.
            unseen: what to do with ids that the fit does not know.

        Returns:
            user, item, score, lower, upper (probabilities; scores without an upper bound for `pda`), score_sd (the
            error bar from the affinity's posterior; NaN where affinities are point estimates).

        Raises:
            DataError: a column is missing, or ids are unseen.
            UnknownNameError: there is no such mode.
        """
        scorer = self._scorer(popularity, interval)
        frame = as_frame(frame).reset_index(drop=True)
        check_columns(frame, ["user", "item"])
        pairs = pd.DataFrame({name: as_text(frame[name], name) for name in ("user", "item")})
        user = self.catalogue.users.get_indexer(pd.Index(pairs["user"]))
        item = self.catalogue.items.get_indexer(pd.Index(pairs["item"]))
        keep = self._keep(pairs, user, item, unseen)
        codes = scorer.tensor(user[keep]), scorer.tensor(item[keep])
        with torch.no_grad():
            affinity = self.model.affinity.pairs(*codes, self._given_score(frame[keep]), self.guide.weights())
        found = scorer.scores(affinity, codes[1])
        sd = np.nan if found.sd is None else found.sd.cpu().numpy()
        return pairs[keep].reset_index(drop=True).assign(**_columns(found), score_sd=sd)

    def log_probability(self, frame: pd.DataFrame, label: np.ndarray) -> np.ndarray:
        """Return log P of the label of pairs, `(N,)` in nats, with popularity from q; unseen ids are at their prior mean.

        Args:
            frame: columns user and item.
            label: `(N,)` 0 or 1.
        """
        check_columns(frame, ["user", "item"])
        ids = {"user": self.catalogue.users, "item": self.catalogue.items}
        user, item = (known.get_indexer(pd.Index(as_text(frame[name], name))) for name, known in ids.items())
        scorer = self._scorer("posterior", 0.9)
        codes = scorer.tensor(user), scorer.tensor(item)
        with torch.no_grad():
            affinity = self.model.affinity.pairs(*codes, self._given_score(frame), self.guide.weights())
        given = torch.from_numpy(np.asarray(label, dtype=np.float64)).to(self.guide.device)
        return np.asarray(scorer.log_probability(affinity, codes[1], given).cpu().numpy())

    def _scorer(self, popularity: str, interval: float) -> Scorer:
        return Scorer(self.model, self.guide, self.catalogue, check_mode(popularity), check_interval(interval))

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

    def _given_score(self, frame: pd.DataFrame) -> Tensor | None:
        section = self.study.model.affinity
        if not isinstance(section, FixedAffinityConfig) or section.score is None:
            return None
        check_columns(frame, [section.score])
        return torch.from_numpy(finite_score(frame[section.score], section.score)).to(self.guide.device)

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
            popularity: "population", "prior", "posterior" or "none", as in `predict`.
            exclude_seen: leave out items that the user has a row of, whatever its label.

        Returns:
            user, rank (from 1), item, score, lower, upper.

        Raises:
            DataError: users are unseen, or seen items are to be excluded and the run holds no interactions.
        """
        scorer = self._scorer(popularity, 0.9)
        k = require_integer("k", k, 1)
        if exclude_seen and self.events is None:
            raise DataError(
                "PB-D106: the run was saved without its interactions (--no-data), so seen items are not known; fit again "
                "with them, or in Python pass exclude_seen=False"
            )
        seen = Seen(self.events) if exclude_seen and self.events is not None else None
        columns = {"user": str, "rank": int, "item": str, "score": float, "lower": float, "upper": float}
        blocks = [pd.DataFrame(columns=list(columns)).astype(columns)]
        for user, item, found in scorer.top(self._user_codes(users), k, seen):
            frame = pd.DataFrame({"user": self.catalogue.users[user], "item": self.catalogue.items[item]})
            frame.insert(1, "rank", frame.groupby("user", sort=False).cumcount() + 1)
            blocks.append(frame.assign(**_columns(found)))
        return pd.concat(blocks[1:] or blocks, ignore_index=True)

    def _user_codes(self, users: Iterable[Any] | None) -> np.ndarray:
        if users is None:
            return np.arange(len(self.catalogue.users))
        if isinstance(users, str):
            raise ConfigError(f"PB-C015: users={users!r} is a single string; pass a list of ids")
        chosen = list(users)
        if not chosen:
            return np.arange(0)
        ids = as_text(pd.Series(chosen), "users")
        codes = self.catalogue.users.get_indexer(pd.Index(ids))
        if (codes < 0).any():
            unknown = ids[codes < 0]
            raise DataError(f"PB-D048: {len(unknown)} unseen users, first {', '.join(unknown[:5])}; leave them out")
        return np.asarray(codes)

    def to_arviz(
        self,
        draws: int = 1000,
        items: Iterable[Any] | None = None,
        rows: Iterable[int] | None = None,
        groups: tuple[str, ...] = GROUPS,
        seed: int = 0,
    ) -> Any:
        """Return the posterior, the prior and the data as ArviZ's container, with item ids as coordinates.

        Draws are a seeded view of q, independent of each other: an item has the same ones in any selection, and a row
            too.
        Each item's are of its own distribution; where a guide has correlations between items (`auto-low-rank`), draws
        have not. Vectors stay at their estimates, and where they have distributions a row's affinity is drawn by its
        moments.

        Args:
            draws: draws of each cell in each chain; a chain a restart, the best first.
            items: ids; all items by default.
            rows: positions of interactions, for observed_data, predictive and log_likelihood groups; by default all
                where only observed_data is asked for, else a seeded sample of 1000 where there are more.
            groups: some of posterior, prior, observed_data, constant_data, prior_predictive, posterior_predictive,
                log_likelihood. The attribute `reason` of the last says why there is no LOO, where there is none. Left
                at its default, observed_data is missing where a run was saved without its interactions.
            seed: decides the draws and the sample of rows.

        Raises:
            ConfigError: a group is unknown, or the draws would take more than 2 GiB.
            IncompatibleError: rows have no likelihood of their own.
            DataError: items are unseen, or the run was saved without its interactions.
        """
        # only the default itself, and no tuple like it, leaves out what a run does not hold
        there = [group for group in groups if group != "observed_data" or self.events is not None]
        return container(
            self, draws=draws, items=items, rows=rows, groups=there if groups is GROUPS else groups, seed=seed
        )

    def check(self, seed: int = 0) -> Check:
        """Return posterior predictive checks, and whether they pass.

        Args:
            seed: decides every draw.

        Raises:
            DataError: the fit has no interactions, or a column of theirs that it needs was not saved.
        """
        return check(self, seed=seed)

    def report(self, path: str | Path, titles: Any = None) -> None:
        """Write a report to look at: one HTML file that holds all it shows and runs nothing.

        Args:
            path: the file.
            titles: item to title: a mapping, a table with columns item and title, or its file.

        Raises:
            DataError: titles cannot be used.
            RunFolderError: the file cannot be written.
        """
        from pyro_popbias.report.html import write_report  # matplotlib takes a while to import

        write_report(self, path, titles=titles)

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
    restarts: int = 1,
    progress: bool = True,
) -> Fit:
    """Train a study, or named model and guide with the study's other defaults, on interactions.

    Args:
        events: interactions.
        study: the study; its defaults where left out.
        model: name of a model, in place of the study's.
        guide: name of a guide, in place of the study's.
        seed: in place of the study's; None draws one and records it.
        restarts: number of independent fits, which share the rows held out and differ in starts, batches and draws. The
            one returned is the best by its held-out log-score, or by its objective where no rows are held out; the
            others are chains of `to_arviz`. The first has the study's seed.
        progress: whether to show progress on standard error.

    Raises:
        DataError: the data hold one class only, or lack what the study needs.
        ConfigError: the study cannot be carried out here.
        NumericalError: the optimisation met values that are not finite.
    """
    study = with_names(study or Study(), model=model, guide=guide)
    if seed is not ...:
        study = study.with_seed(seed)
    return fit_study(events, study, restarts=restarts, progress=progress)


def fit_study(
    events: Interactions,
    study: Study,
    *,
    restarts: int = 1,
    progress: bool = True,
    title: str = "",
    checkpointing: Checkpointing | None = None,
) -> Fit:
    """Train a study: what `fit` and the command line share.

    Args:
        events: interactions.
        study: the study.
        restarts: number of independent fits.
        progress: whether to show progress on standard error.
        title: what is trained, in front of the progress.
        checkpointing: from a restart's number and pair to the snapshot to resume from and what saves snapshots.
    """
    trained = train_restarts(
        events, study, restarts=restarts, progress=progress, title=title, checkpointing=checkpointing
    )
    fits = [
        Fit(pair.study, events.catalogue, pair.model, pair.guide, result.iterates, result.history, events)
        for pair, result in trained
    ]
    best = fits[best_of([each.history for each in fits])]
    # the study is as it was declared: the seed of the split, whichever restart was the best
    return replace(best, study=fits[0].study, others=tuple(each.chains[0] for each in fits if each is not best))


def load(path: str | Path) -> Fit:
    """Return the fit of a run folder; its predictions equal those of the fit that was saved, bit for bit.

    Raises:
        RunFolderError: there is no such folder, or it holds no finished run.
        CorruptCheckpointError: a file is not what was written.
        SchemaVersionError: the folder was written by an incompatible version.
    """
    trained = read_run(path)
    return Fit(**{each.name: getattr(trained, each.name) for each in fields(trained)})


def _columns(found: Scores) -> dict[str, np.ndarray]:
    parts = {"score": found.score, "lower": found.lower, "upper": found.upper}
    return {name: part.cpu().numpy() for name, part in parts.items()}
