"""What shells complete, without the imports that would make every Tab take seconds."""

import os
import subprocess
import sys

import pytest

from pyro_popbias.cli.completion import KEYS, NAMES, assignments, join_assignments, several_guides
from pyro_popbias.guides import GUIDES
from pyro_popbias.models import AFFINITIES, EXPOSURES, MODELS, PRIORS, SATURATIONS
from pyro_popbias.study.sections import DataConfig, GuideConfig, ModelConfig, TrainingConfig

CODE = """
import sys
from pyro_popbias.cli.app import main
try:
    main()
finally:
    print("heavy", [name for name in ("torch", "pandas", "pyro", "numpy") if name in sys.modules], file=sys.stderr)
"""


def test_names_are_those_of_the_registries():
    registries = [MODELS, GUIDES, PRIORS, AFFINITIES, SATURATIONS, EXPOSURES]
    for (kind, names), registry in zip(NAMES.items(), registries, strict=True):
        assert set(names) - {"none", "auto"} == set(registry), kind


def test_keys_are_those_of_a_study():
    sections = {"data": DataConfig, "model": ModelConfig, "guide": GuideConfig, "training": TrainingConfig}
    parts = {"prior": PRIORS["gamma"].config, "affinity": AFFINITIES["embedding"].config}
    parts["saturation"] = ModelConfig.model_fields["saturation"].annotation
    for key, kind in KEYS.items():
        section, name, *inner = key.split(".")
        assert name in sections[section].model_fields, key
        if inner and name in parts:
            assert inner[0] in parts[name].model_fields or inner[0] == "name", key
        assert not kind or kind in NAMES, key


def test_lists_and_assignments_go_on():
    assert several_guides("gamma,log") == ["gamma,lognormal"]
    assert "gamma,gamma" not in several_guides("gamma,")
    assert assignments("model.prior.n") == ["model.prior.name="]
    assert assignments("model.prior.name=l") == ["model.prior.name=lognormal"]
    assert assignments("training.epochs=") == []


@pytest.mark.parametrize(
    ("words", "current", "joined", "at"),
    [
        (
            ["popbias", "fit", "s", "--set", "guide.name", "=", "lo"],
            6,
            ["popbias", "fit", "s", "--set", "guide.name=lo"],
            4,
        ),
        (["popbias", "fit", "s", "--set", "guide.name", "="], 5, ["popbias", "fit", "s", "--set", "guide.name="], 4),
        (["popbias", "fit", "s", "--set", "a", "=", "b", ""], 7, ["popbias", "fit", "s", "--set", "a=b", ""], 5),
        (["popbias", "fit", ""], 2, ["popbias", "fit", ""], 2),
    ],
)
@pytest.mark.parametrize("between", [" ", "\n"])
def test_words_that_bash_splits_are_joined(words, current, joined, at, between):
    environment = {"COMP_WORDS": between.join(words), "COMP_CWORD": str(current)}
    done = join_assignments(environment)
    assert environment == {"COMP_WORDS": between.join(joined), "COMP_CWORD": str(at)}
    assert done == ("guide.name=" if "guide.name" in words else "")


CASES = {
    "popbias fit study.toml --guide lo": ["lognormal"],
    "popbias fit study.toml --set model.prior.name = we": ["weibull"],
    "popbias fit study.toml --set model.pri": [
        f"model.prior.{name}=" for name in ("name", "source", "concentration", "drift")
    ],
    "popbias comp": ["compare"],
    "popbias recommend run --popularity po": ["population", "posterior"],
    "popbias recommend run --popularity forecast = 0": ["0.5"],
    "popbias predict run --unseen p": ["prior"],
    "popbias compare study.toml --guides gamma,log": ["gamma,lognormal"],
}


def asked_by_bash(words):
    return {
        "_POPBIAS_COMPLETE": "complete_bash",
        "COMP_WORDS": words.replace(" ", "\n"),
        "COMP_CWORD": str(len(words.split()) - 1),
    }


@pytest.mark.parametrize("words", CASES)
def test_bash_completes(popbias, monkeypatch, words):
    for name, value in asked_by_bash(words).items():
        monkeypatch.setenv(name, value)
    code, out, error = popbias()
    assert (code, out.split(), error) == (0, CASES[words], "")


def test_completion_is_light():
    code = f"import sys; sys.argv[0] = 'popbias'{CODE}"
    environment = os.environ | asked_by_bash("popbias fit study.toml --guide lo")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout.split() == ["lognormal"]
    assert done.stderr.splitlines()[-1] == "heavy []"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_of_shells(popbias, monkeypatch, shell):
    # Typer otherwise looks for the shell among the processes above, which make's sh is one of
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    code, out, _ = popbias("--show-completion", shell)
    assert code == 0
    assert "_POPBIAS_COMPLETE" in out
