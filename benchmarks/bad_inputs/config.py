"""Rows 76 to 93: studies, names, numbers and the command line."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyro
import torch
from pyro.distributions import Gamma

import pyro_popbias as pb
from bad_inputs.row import Row
from pyro_popbias.errors import (
    ConfigError,
    DataError,
    DataWarning,
    IncompatibleError,
    UnknownNameError,
)

STUDY = 'schema = 1\n[data]\npath = "rows.csv"\nuser = "user"\nitem = "item"\nlabel = "label"\n'
FIT = ("fit", "study.toml", "--out", "run")
QUICK = {"epochs": 1, "phase_two": 0, "validation": 0.0, "device": "cpu"}
SET_QUICK = tuple(part for key, value in QUICK.items() for part in ("--set", f"training.{key}={value}"))


def rows_of_events() -> pd.DataFrame:
    """Return a small log with both labels."""
    n = np.arange(60)
    return pd.DataFrame(
        {"user": [f"u{k % 6}" for k in n], "item": [f"i{k // 6}" for k in n], "label": (n * 7 + n // 6) % 2}
    )


@cache
def events() -> pb.Interactions:
    """Return the small log as interactions."""
    return pb.Interactions.from_frame(rows_of_events(), user="user", item="item", label="label")


@cache
def fitted() -> Any:
    """Return a fit of the small log."""
    study = pb.Study(model={"affinity": {"name": "embedding", "dim": 2}}, training=QUICK)
    return pb.fit(events(), study=study, progress=False)


def study_with(text: str) -> Callable[[Path], Path]:
    """Return what writes the log, and a study with some more lines, as text or as bytes."""

    def written(folder: Path) -> Path:
        rows_of_events().to_csv(folder / "rows.csv", index=False)
        path = folder / "study.toml"
        path.write_bytes((STUDY + text).encode("utf-8", "surrogateescape"))
        return path

    return written


def of_study(folder: Path, path: Path) -> object:
    """Fit the study of a file."""
    return pb.fit(pb.Interactions.from_frame(pd.read_csv(folder / "rows.csv"), **ROLES), study=pb.Study.from_toml(path))


ROLES = {"user": "user", "item": "item", "label": "label"}


def declared(number: int, what: str, text: str, answer: type[Exception] | None, message: str, code: int = 2) -> Row:
    """Return a row of a study file that Python and the command line refuse alike."""
    return Row(number, what, of_study, answer, message, prepare=study_with(text), arguments=FIT, exit_code=code)


def given(number: int, what: str, answer: type[Exception], message: str, call: Callable[[], object]) -> Row:
    """Return a row of a call that the command line has not."""
    return Row(number, what, lambda *_: call(), answer, message)


def sites(model: Any, guide: Any) -> object:
    """Return the loss of two programs with one site each, `(name, distribution)`."""

    def program(name: str, distribution: Any) -> Any:
        with pyro.plate("cell", 3):
            return pyro.sample(name, distribution)

    return pb.Objective().differentiable_loss(partial(program, *model), partial(program, *guide))


def without_gradient() -> object:
    """Give the objective a guide whose draws have no gradient."""
    q = Gamma(2.0, 1.0)
    q.has_rsample = False
    return sites(("popularity", Gamma(1.0, 1.0)), ("popularity", q))


NAMES = [
    declared(
        76,
        "model",
        '[model]\nname = "additve"',
        UnknownNameError,
        "PB-C076: unknown model 'additve'; did you mean 'additive'",
    ),
    Row(
        *(76, "guide", lambda *_: pb.fit(events(), guide="lognorml"), UnknownNameError),
        "PB-C076: unknown guide 'lognorml'; did you mean 'lognormal'.*Guides: gamma",
        prepare=study_with(""),
        arguments=(*FIT, "--guide", "lognorml"),
        exit_code=2,
    ),
    declared(
        76, "prior", '[model.prior]\nname = "gama"', UnknownNameError, "unknown prior 'gama'; did you mean 'gamma'"
    ),
    declared(
        76, "saturation", '[model.saturation]\nname = "tan"', UnknownNameError, "saturation 'tan'; did you mean 'tanh'"
    ),
    declared(76, "no text", "[model]\nprior = { name = [1] }", UnknownNameError, r"PB-C076: unknown prior \[1\]\."),
    declared(
        77,
        "key",
        "[training]\nlearing_rate = 0.1",
        ConfigError,
        "PB-C077.*'learing_rate'; did you mean 'learning_rate'",
    ),
    declared(77, "section", "[trainin]\nepochs = 1", ConfigError, "PB-C077.*'trainin'; did you mean 'training'"),
    declared(
        77,
        "key of a part",
        "[model.affinity]\nname = 'embedding'\ndims = 2",
        ConfigError,
        "PB-C077.*did you mean 'dim'",
    ),
    Row(
        *(77, "set", lambda *_: pb.Study.model_validate({"training": {"epoch": 1}}), ConfigError),
        "PB-C077.*'epoch'; did you mean 'epochs'",
        prepare=study_with(""),
        arguments=(*FIT, "--set", "training.epoch=1"),
        exit_code=2,
    ),
]

PAIRS = [
    declared(
        78, "guide on the real line", '[guide]\nname = "normal"', IncompatibleError, "PB-C078.*guides that fit: gamma, "
    ),
    declared(
        *(
            78,
            "positive guide of a real prior",
            '[model]\nname = "additive"\nprior = { name = "normal" }\n[guide]\nname = "gamma"',
        ),
        *(IncompatibleError, "PB-C078.*guides that fit: normal.*priors for this guide: exponential, gamma"),
    ),
    given(79, "guide without gradient", IncompatibleError, "PB-C079: Gamma of site 'popularity'", without_gradient),
    given(
        *(80, "no closed KL", IncompatibleError, r"PB-C080: KL\(LogNormal \|\| HalfCauchy\).*declare kl = 'sampled'"),
        lambda: sites(
            ("popularity", pyro.distributions.HalfCauchy(1.0)), ("popularity", pyro.distributions.LogNormal(0.0, 1.0))
        ),
    ),
    declared(81, "scale of a KL", "[training]\nkl_scale = 0.5", ConfigError, "PB-C077: unknown key 'kl_scale'"),
    given(
        *(82, "site of the guide alone", IncompatibleError, r"PB-C082.*\['popularity'\], the guide's are \['z'\]"),
        lambda: sites(("popularity", Gamma(1.0, 1.0)), ("z", Gamma(1.0, 1.0))),
    ),
]

RANGES = {
    "zero": "0.0",
    "below zero": "-0.1",
    "nan": "nan",
    "tiny": "1e-300",
    "text": '"0.1"',
    "truth value": "true",
    "huge integer": "1" * 400,
}
COUNTS = {
    "none": "0",
    "below zero": "-3",
    "huge": str(10**12),
    "a share": "2.5",
    "truth value": "true",
    "beyond 64 bits": str(2**70),
}
SEEDS = {"below zero": "-1", "beyond 63 bits": str(2**63), "a share": "0.5", "text": '"1"', "truth value": "true"}

NUMBERS = [
    *(
        declared(
            83,
            f"learning rate {what}",
            f"[training]\nlearning_rate = {value}",
            ConfigError,
            "PB-C(083.*learning_rate|496)",
        )
        for what, value in RANGES.items()
    ),
    *(
        declared(
            *(83, f"prior {what}", f'[model.prior]\nsource = "fixed"\nconcentration = {value}', ConfigError),
            "PB-C(083.*concentration|496)",
        )
        for what, value in RANGES.items()
    ),
    *(
        declared(84, f"epochs {what}", f"[training]\nepochs = {value}", ConfigError, "PB-C(083.*epochs|496)")
        for what, value in COUNTS.items()
    ),
    declared(85, "none", "[training]\nbatch_size = 0", ConfigError, "PB-C083.*batch_size"),
    declared(85, "below zero", "[training]\nbatch_size = -1", ConfigError, "PB-C083.*batch_size"),
    Row(
        *(
            85,
            "more than the rows",
            lambda *_: pb.pair(events(), study=pb.Study(training={"batch_size": 999})),
            DataWarning,
        ),
        "PB-C085: batch_size 999 is more than the (54|60) training rows; all are one batch",
        prepare=study_with("[training]\nbatch_size = 999"),
        arguments=(*FIT, *SET_QUICK),
    ),
    *(
        declared(86, what, f"[training]\nseed = {value}", ConfigError, "PB-C(083.*seed|496)")
        for what, value in SEEDS.items()
    ),
    given(86, "beyond 64 bits in Python", ConfigError, "PB-C083.*seed", lambda: pb.fit(events(), seed=10**5_000)),
    given(86, "of a split", ConfigError, "PB-C084: seed must be", lambda: events().split(seed=2**64)),
    given(86, "of a check", ConfigError, "PB-C084: seed must be", lambda: fitted().check(seed=2.5)),
    Row(
        *(86, "of a simulation", lambda *_: pb.simulate(seed=-1), ConfigError, "PB-C084: seed must be an integer >= 0"),
        prepare=study_with(""),
        arguments=("simulate", "study.toml", "--events", "e.csv", "--truth", "t.csv", "--seed", "-1"),
        exit_code=2,
    ),
    Row(86, "None is drawn", lambda *_: pb.Study().with_seed(None).training.seed + 1 > 0 or 1 / 0, None),
    *(
        []
        if torch.cuda.is_available()
        else [declared(87, "device", '[training]\ndevice = "cuda"', ConfigError, "PB-C087.*no CUDA device")]
    ),
    declared(87, "unknown device", '[training]\ndevice = "tpu"', ConfigError, "PB-C083.*device"),
    declared(87, "half precision", '[training]\ndtype = "float16"', ConfigError, "PB-C077: unknown key 'dtype'"),
    given(88, "no draws", ConfigError, "PB-C084: draws must be", lambda: fitted().to_arviz(draws=0)),
    given(
        88,
        "too many draws",
        ConfigError,
        "PB-C088: 1000000000 draws.*GiB, more than 2",
        lambda: fitted().to_arviz(draws=10**9),
    ),
    declared(88, "particles", "[training]\nparticles = 1000000000", ConfigError, "PB-C083.*particles"),
    Row(
        *(88, "too many users to simulate", lambda *_: pb.simulate(users=10**12), DataError),
        "PB-D051: this simulation would need about .*GiB of memory",
        prepare=study_with(""),
        arguments=("simulate", "study.toml", "--events", "e.csv", "--truth", "t.csv", "--users", str(10**12)),
        exit_code=3,
    ),
]

BAD_TOML = {
    "key twice": ('[model]\nname = "pda"\nname = "pda"', r"PB-C089.*line 9"),
    "table twice": ("[data]", r"PB-C089.*line 7"),
    "open end": ("[model]\nname = [", r"PB-C089.*line 8, the end"),
    "no value": ("[model]\nname =\n", r"PB-C089.*line 8"),
    "not UTF-8": ('[model]\nname = "\udce9"', r"PB-C089.*byte 0xe9 at line 8"),
    "nested": (f"[model]\nname = {'[' * 3_000}", "PB-C495.*levels deep"),
    "huge integer": (f"[training]\nseed = {'9' * 5_000}", "PB-C496.*64 bits"),
    "NUL": ("[model]\nname = 'a\0'", "PB-C089.*line 8"),
    "no TOML at all": ("\x00\x01\x02", "PB-C089.*line 7"),
}


def yaml(folder: Path) -> Path:
    """Write a study as YAML."""
    rows_of_events().to_csv(folder / "rows.csv", index=False)
    path = folder / "study.toml"
    path.write_text("schema: 1\ntraining:\n  learning_rate: 1e-3\n  epochs: 010\n", encoding="utf-8")
    return path


FILES = [
    *(declared(89, what, text, ConfigError, message) for what, (text, message) in BAD_TOML.items()),
    Row(
        90,
        "YAML",
        of_study,
        ConfigError,
        "PB-C089.*is not valid TOML.*line 1",
        prepare=yaml,
        arguments=FIT,
        exit_code=2,
    ),
    declared(90, "number as text", '[training]\nlearning_rate = "1e-3"', ConfigError, "PB-C083.*learning_rate"),
    *(
        declared(91, f"{key} {value}", f"[training]\n{key} = {value}", ConfigError, f"PB-C083.*{key}")
        for key in ("learning_rate", "guide_learning_rate", "validation")
        for value in ("inf", "-inf", "nan")
    ),
]


def link_outside(folder: Path) -> Path:
    """Write a study, and a link to another folder where the run is to be."""
    (folder / "elsewhere").mkdir()
    (folder / "run").symlink_to(folder / "elsewhere")
    return study_with("")(folder)


def saved(name: str) -> Callable[..., object]:
    """Return what saves a fit under a name."""
    return lambda *_: fitted().save(name)  # in the row's folder


def refused_name(what: str, name: str, message: str = "PB-C497") -> Row:
    """Return a row of a folder's name that is refused."""
    arguments = ("fit", "study.toml", f"--out={name}")
    return Row(92, what, saved(name), ConfigError, message, prepare=study_with(""), arguments=arguments, exit_code=2)


RUNS = [
    refused_name("leads above", ".."),
    refused_name("leads to its folder", "a/.."),
    refused_name("device", "CON", "PB-C497: 'CON' .*device of Windows"),
    refused_name("device with an ending", "nul.txt", "PB-C497.*device of Windows"),
    refused_name("long", "x" * 300),
    refused_name("65 characters", "x" * 65),
    refused_name("empty", ""),
    refused_name("dot", "."),
    refused_name("hyphen first", "-rf"),
    refused_name("newline", "run\nrm"),
    refused_name("space", "my run"),
    Row(92, "NUL", saved("run\0"), ConfigError, "PB-C497"),
    refused_name("hidden", ".run"),
    refused_name("dot last", "run."),
    refused_name("backslashes", "..\\run"),
    Row(
        *(92, "symbolic link", lambda folder, _: fitted().save(folder / "run"), ConfigError, "PB-C498.*symbolic link"),
        prepare=link_outside,
        arguments=FIT,
        exit_code=2,
    ),
    Row(
        *(92, "update", None, ConfigError, "PB-C497: 'CON'"),
        prepare=study_with(""),
        arguments=("update", "run", "--data", "rows.csv", "--out", "CON"),
        exit_code=2,
    ),
    Row(92, "path of folders", lambda folder, _: fitted().save(folder / "a" / "b" / "run-1.2_x"), None),
    Row(
        *(
            93,
            "label that validation of torch alone would refuse",
            lambda *_: pb.Interactions.from_frame(half(), **ROLES),
            DataError,
            "PB-D052.*0.5",
        ),
        prepare=lambda folder: (study_with("")(folder), half().to_csv(folder / "rows.csv", index=False)),
        arguments=FIT,
        exit_code=3,
    ),
]


def half() -> pd.DataFrame:
    """Return the small log with a label between 0 and 1, which a Bernoulli takes under `python -O`."""
    return rows_of_events().assign(label=lambda frame: np.where(frame["label"] == 1, 0.5, 0.0))


ROWS = [*NAMES, *PAIRS, *NUMBERS, *FILES, *RUNS]
