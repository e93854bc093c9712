"""Studies, assignments and search spaces that no person would write: each is refused in one line."""

import os

import pandas as pd
import pytest

from pyro_popbias.cli.tune import read_space
from pyro_popbias.errors import ConfigError, RunFolderError, UnknownNameError, shown
from pyro_popbias.study.study import Study
from pyro_popbias.study.toml_files import DEEPEST, LARGEST, read_toml
from pyro_popbias.validation import require_integer

NESTED = "[" * 3_000
HUGE = {
    "nested-too-deep-to-parse": (f"data = {NESTED}", "PB-C495.*levels deep"),
    "nested-by-names": (f"{'a.' * 3_000}b = 1", "PB-C495.*levels deep"),
    "nested-tables": (f"data = {'{a=' * 90}1{'}' * 90}", "PB-C495.*levels deep"),
    "digits": (f"schema = 1\n[training]\nseed = {'9' * 5_000}", r"PB-C496.*64 bits \(line 3\)"),
    "hexadecimal-digits": (f"[training]\nseed = 0x{'f' * 5_000}", r"PB-C496.*64 bits \(line 2\)"),
    "65-bits": (f"[training]\nseed = {2**64}", r"PB-C496.*64 bits \(line 2\)"),
    "in-an-array": (f"data = [[[{2**63}]]]", "PB-C496.*64 bits"),
    "open-end": ("[data]\n\npath = [", r"PB-C089.*at line 3, the end"),
    "twice": ('[data]\nuser = "a"\nuser = "b"', r"PB-C089.*at line 3"),
    "table-twice": ("[data]\n[data]", r"PB-C089.*at line 2"),
    "long-bad-key": (f"[data]\n{'x' * 9_000}\n", r"PB-C089.*at line 2"),
}


@pytest.mark.parametrize(("text", "said"), HUGE.values(), ids=HUGE)
def test_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "any.toml"
    path.write_text(text, encoding="utf-8")
    for read in (Study.from_toml, read_space, read_toml):
        with pytest.raises(ConfigError, match=said) as raised:
            read(path)
        assert len(str(raised.value)) < 600
        assert "\n" not in str(raised.value)


def test_bytes_that_are_not_utf_8(tmp_path):
    path = tmp_path / "study.toml"
    path.write_bytes(b'[data]\nuser = "\xe9"\n')
    with pytest.raises(ConfigError, match=r"PB-C089.*byte 0xe9 at line 2 is not UTF-8"):
        Study.from_toml(path)


def test_what_is_no_small_regular_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        with pytest.raises(RunFolderError, match=r"PB-R022.*not a regular file"):
            Study.from_toml(path)
    with pytest.raises(RunFolderError, match=r"PB-R022: cannot read .*null byte"):
        Study.from_toml("a\0b")
    path = tmp_path / "large.toml"
    path.write_bytes(b"#" * (LARGEST + 1))
    with pytest.raises(ConfigError, match=r"PB-C494.*1,024 KiB"):
        Study.from_toml(path)


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        (f"training.seed={'9' * 5_000}", "PB-C496"),
        (f"training.seed={2**63}", "PB-C496"),
        (f"data.path={NESTED}", "PB-C495"),
        (f"{'a.' * 3_000}b=1", "PB-C495.*levels deep"),
        ("training.epochs=5\nmodel.name='pda'", "PB-C083.*epochs"),
        ("x" * 9_000, "PB-C010.*9,002 characters"),
    ],
)
def test_assignments(tmp_path, assignment, said):
    path = tmp_path / "study.toml"
    path.write_text("schema = 1")
    with pytest.raises(ConfigError, match=said) as raised:
        Study.from_toml(path, [assignment])
    assert len(str(raised.value)) < 600


def nested(depth):
    found = inner = []
    for _ in range(depth):
        inner.append([])
        inner = inner[0]
    return found


ODD = [
    nested(5_000),
    {"a": nested(5_000)},
    10**5_000,
    "x" * 9_000,
    "a\nb",
    b"x",
    pd.NA,
    {},
    {"name": ["a"]},
    {"name": {}},
]


@pytest.mark.parametrize(
    "place", ["data.user", "model.name", "model.affinity", "model.prior", "model.exposure", "training.validation"]
)
@pytest.mark.parametrize("odd", ODD, ids=range(len(ODD)))
def test_values_in_python(place, odd):
    section, key = place.split(".")
    found = {section: {key: odd}}
    empty = isinstance(odd, dict) and not odd and key in ("prior", "validation")
    if empty or (place == "data.user" and isinstance(odd, str | bytes)):
        assert Study.model_validate(found)
        return
    with pytest.raises(ConfigError, match=r"^PB-C") as caught:
        Study.model_validate(found)
    assert len(str(caught.value)) < 800
    assert "\n" not in str(caught.value)


def test_names_that_are_no_texts():
    for section in ({"name": ["gamma"]}, {"name": {"a": 1}}, {"name": 5}):
        with pytest.raises(UnknownNameError, match="PB-C076: unknown prior"):
            Study.model_validate({"model": {"prior": section}})
    with pytest.raises(ConfigError, match=r"PB-C083.*\[model\] name = 5"):
        Study.model_validate({"model": {"name": 5, "prior": {"drift": "random-walk"}}})


@pytest.mark.parametrize("flag", ["yes", 1, "true"])
def test_flags_are_truth_values(flag):
    with pytest.raises(ConfigError, match=r"PB-C083.*user_bias.*valid boolean"):
        Study.model_validate({"model": {"affinity": {"name": "embedding", "user_bias": flag}}})


def test_depth_that_is_allowed(tmp_path):
    path = tmp_path / "any.toml"
    path.write_text("a." * (DEEPEST - 1) + "b = 1")
    assert "a" in read_toml(path)
    path.write_text("a." * DEEPEST + "b = 1")
    with pytest.raises(ConfigError, match="PB-C495"):
        read_toml(path)


def test_values_in_messages():
    assert shown("a\nb") == r"'a\nb'"
    assert shown(pd.DataFrame({"a": [1]})) == "a 0 1"
    assert shown(nested(100_000)) == "a value of type list that is too large to print"
    assert shown("x" * 200).endswith("... (202 characters)")
    with pytest.raises(ConfigError, match="must be an integer from 1 to 5, not a value of type int"):
        require_integer("k", 10**5_000, 1, 5)


@pytest.mark.parametrize("range_", ["inf", "nan", "0.1"])
def test_ranges_of_a_space(tmp_path, range_):
    path = tmp_path / "space.toml"
    path.write_text(f"training.learning_rate = {{ low = -0.1, high = {range_}, log = {str(range_ == '0.1').lower()} }}")
    with pytest.raises(ConfigError, match=r"PB-C375.*learning_rate.*finite, and above 0"):
        read_space(path)
