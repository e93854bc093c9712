"""Accuracy against popularity bias on MovieLens: every mode of popularity and the knob, on the rows that come last."""

from pathlib import Path

import pandas as pd

import pyro_popbias as pb

MODELS = ("product", "inverse-logistic")
SPLITS = {"temporal": 0.1, "leave-last": 0.0}  # name and share; the second holds out one row of every user
SHOWN = ("ndcg@20", "ndcg@20_difference_lower", "ndcg@20_difference_upper", "average_popularity@20")
INTERVAL = 0.95


def movielens(data: Path, out: Path) -> pd.DataFrame:
    """Return one row per split, model and popularity; the default study, seed 0. What is in the file is not done again.

    Args:
        data: folder that holds ml-latest-small.
        out: folder of results.
    """
    file = out / "movielens.csv"
    done = [pd.read_csv(file)] if file.exists() else []
    known = {(row["split"], row["model"]) for each in done for row in each.to_dict("records")}
    for split, share in SPLITS.items():
        for model in MODELS:
            if (split, model) in known:
                continue
            events = pb.read_movielens(data / "ml-latest-small")
            train, test = events.split(split, test=share or 0.1, seed=0)
            found = pb.fit(train, model=model, progress=False).trade_off(test, interval=INTERVAL)
            done.append(found.assign(split=split, model=model, users=len(test.users)))
            out.mkdir(parents=True, exist_ok=True)
            pd.concat(done).to_csv(file, index=False)
    return pd.concat(done)


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table as texts."""
    share = table["share"].map(lambda value: "" if pd.isna(value) else f" {value:g}")
    named = table[["split", "model"]].assign(popularity=table["popularity"] + share)
    ends = (table[name].map("{:+.3f}".format) for name in SHOWN[1:3])
    return named.assign(
        **{
            SHOWN[0]: table[SHOWN[0]].map("{:.3f}".format),
            "against none": [" to ".join(pair) for pair in zip(*ends, strict=True)],
            SHOWN[3]: table[SHOWN[3]].map("{:.0f}".format),
        }
    )
