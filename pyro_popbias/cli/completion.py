"""What a shell completes: names of models, guides and priors, modes of popularity, and keys of a study.

Importing the registries would take seconds for every Tab, so that their names stand here too; a test compares the two. Names
that other packages add are read from their entry points, which imports none of them.
"""

import io
import sys
from collections.abc import Iterable, Iterator, MutableMapping
from contextlib import contextmanager, redirect_stdout
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
MODES = ["population", "prior", "posterior", "none", "forecast", "forecast=0.5", "share=0.5"]
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
    return _starting(MODES, incomplete)


def assignments(incomplete: str) -> list[str]:
    """Return keys of a study with their sign, and from there on names of parts."""
    key, sign, _ = incomplete.partition("=")
    if not sign:
        return _starting([f"{name}=" for name in KEYS], incomplete)
    kind = KEYS.get(key)
    return _starting([f"{key}={name}" for name in names(kind)] if kind else [], incomplete)


@contextmanager
def whole_words(environment: MutableMapping[str, str]) -> Iterator[None]:
    """Let bash, for which a sign ends a word, complete assignments: it gives their parts, and wants the last part only.

    Args:
        environment: of a process that bash asks for completions, or any other, which is left alone; changed.
    """
    done = join_assignments(environment)
    if not done:
        yield
        return
    said = io.StringIO()
    try:
        with redirect_stdout(said):
            yield
    finally:  # the command line ends by an exception
        sys.stdout.write("".join(line.removeprefix(done) for line in said.getvalue().splitlines(keepends=True)))


def join_assignments(environment: MutableMapping[str, str]) -> str:
    """Make one word again of an assignment that bash has split at its sign; return that of the current word up to its sign.

    Args:
        environment: with the words and the number of the current one; changed.
    """
    if WORDS not in environment or not environment.get(CURRENT, "").isdecimal():
        return ""
    between = "\n" if "\n" in environment[WORDS] else " "  # as the script of the shell sets it
    words, current = environment[WORDS].split(between), int(environment[CURRENT])
    joined: list[str] = []
    at = current
    for number, word in enumerate(words):
        if joined and (word == "=" or (words[number - 1] == "=" and word)):
            joined[-1] += word
            at -= number <= current
        else:
            joined.append(word)
    environment[WORDS], environment[CURRENT] = between.join(joined), str(at)
    _, sign, after = "".join(joined[at : at + 1]).rpartition("=")
    return joined[at].removesuffix(after) if sign and at < current else ""
