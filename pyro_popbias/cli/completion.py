"""What a shell completes: names of models, guides and priors, modes of popularity, and keys of a study.

Importing the registries would take seconds for every Tab, so that their names stand here too; a test compares the two. Names
that other packages add are read from their entry points, which imports none of them.
"""

import os
from collections.abc import Iterable, MutableMapping
from importlib.metadata import entry_points

NAMES = {
    "models": ["product", "additive", "inverse-logistic", "pda"],
    "guides": [
        *["gamma", "exponential", "lognormal", "weibull", "normal", "point", "markov"],
        *["amortized-gamma", "amortized-lognormal", "amortized-normal", "auto-normal", "auto-low-rank"],
    ],
    "priors": ["gamma", "exponential", "lognormal", "weibull", "normal"],
    "affinities": ["embedding", "linear", "factorization-machine", "fixed"],
    "saturations": ["exponential", "hill", "tanh", "power"],
    "exposures": ["none", "auto", "poisson", "negative-binomial"],
}
MODES = ["population", "prior", "posterior", "none", "forecast", "forecast=0.5"]
# keys of a study that --set takes, and which names each has
KEYS = {
    "model.name": "models",
    "model.prior.name": "priors",
    "model.prior.source": "",
    "model.prior.concentration": "",
    "model.prior.drift": "",
    "model.affinity.name": "affinities",
    "model.affinity.dim": "",
    "model.affinity.scale": "",
    "model.affinity.posterior": "",
    "model.affinity.item_quality": "",
    "model.saturation.name": "saturations",
    "model.exposure": "exposures",
    "model.latent": "",
    "guide.name": "guides",
    "data.periods": "",
    "data.period_by": "",
    "data.negatives": "",
    "training.epochs": "",
    "training.batch_size": "",
    "training.learning_rate": "",
    "training.guide_learning_rate": "",
    "training.phase_two": "",
    "training.validation": "",
    "training.seed": "",
    "training.device": "",
}
WORDS, CURRENT = "COMP_WORDS", "COMP_CWORD"  # of bash


def names(kind: str) -> list[str]:
    """Return the names of a kind of part: ours, and those of other packages."""
    added = [point.name for point in entry_points(group=f"pyro_popbias.{kind}")]
    return [*NAMES[kind], *(name for name in added if name not in NAMES[kind])]


def _starting(found: Iterable[str], incomplete: str) -> list[str]:
    return [each for each in found if each.startswith(incomplete)]


def models(incomplete: str) -> list[str]:
    """Return names of models."""
    return _starting(names("models"), incomplete)


def guides(incomplete: str) -> list[str]:
    """Return names of guides."""
    return _starting(names("guides"), incomplete)


def several_guides(incomplete: str) -> list[str]:
    """Return lists of guides, as in gamma,lognormal, that go on by one name."""
    done, comma, last = incomplete.rpartition(",")
    chosen = done.split(",")
    return [f"{done}{comma}{name}" for name in guides(last) if name not in chosen]


def popularities(incomplete: str) -> list[str]:
    """Return modes of popularity."""
    return _after_sign(_starting(MODES, incomplete), incomplete)


def assignments(incomplete: str) -> list[str]:
    """Return keys of a study with their sign, and from there on names of parts."""
    key, sign, _ = incomplete.partition("=")
    if not sign:
        return _starting([f"{name}=" for name in KEYS], incomplete)
    kind = KEYS.get(key)
    return _after_sign(_starting([f"{key}={name}" for name in names(kind)] if kind else [], incomplete), incomplete)


def _after_sign(found: list[str], incomplete: str) -> list[str]:
    """Return what is left of completions after a sign, which for bash ends a word."""
    return [each.partition("=")[2] for each in found] if "=" in incomplete and WORDS in os.environ else found


def join_assignments(environment: MutableMapping[str, str]) -> None:
    """Make one word again of an assignment that bash has split at its sign, before the words are read.

    Args:
        environment: of a process that bash asks for completions; changed.
    """
    if WORDS not in environment or not environment.get(CURRENT, "").isdecimal():
        return
    words, current = environment[WORDS].split(" "), int(environment[CURRENT])
    joined: list[str] = []
    for number, word in enumerate(words):
        after_sign = number > 0 and words[number - 1] == "="
        if joined and (word == "=" or (after_sign and word)):
            joined[-1] += word
            if number <= int(environment[CURRENT]):
                current -= 1
        else:
            joined.append(word)
    environment[WORDS], environment[CURRENT] = " ".join(joined), str(current)
