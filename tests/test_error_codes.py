"""The page of error codes: every code of the source is on it, and means one thing."""

import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
# the one fault of codes whose messages stand in several files
SHARED = {
    "PB-C005": "a time column is needed",
    "PB-C014": "the study does not name a file or the columns that a command reads",
    "PB-C018": "negatives, or given vectors, do not fit the data or the model",
    "PB-C076": "a name is unknown",
    "PB-C078": "two parts that are right alone do not fit together",
    "PB-C081": "the model does not take the saturation",
    "PB-C083": "a number is out of its range",
    "PB-C084": "an argument is not an integer in its range",
    "PB-C089": "a file is not valid TOML",
    "PB-D001": "the data have the wrong type",
    "PB-D048": "ids are unseen",
    "PB-D049": "items are unseen",
    "PB-D050": "a table of ids has one twice",
    "PB-D106": "the run was saved without its interactions",
    "PB-D370": "rows of a test were trained on",
    "PB-R022": "a file cannot be read",
    "PB-R094": "a checkpoint or a file of a run is damaged",
    "PB-R095": "a file of a run is not what was written",
    "PB-R096": "the schema is of another version",
    "PB-R100": "a file or folder cannot be written",
    "PB-R101": "the output exists",
}


@pytest.fixture(scope="module")
def codes():
    specification = importlib.util.spec_from_file_location("error_codes", DOCS / "error_codes.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_every_code_is_on_the_page(codes):
    table = codes.messages()
    assert set(table["code"]) == codes.source_codes()
    assert table["message"].ne("").all()
    assert "\nerrors\n" in (DOCS / "index.md").read_text(encoding="utf-8")
    page = (DOCS / "errors.md").read_text(encoding="utf-8")
    assert set(table["code"].str[:4]) == set(re.findall(r"^```{error-codes} (PB-\w)$", page, flags=re.MULTILINE))


def test_messages_are_read_as_written(codes):
    message = codes.messages().set_index("code").loc["PB-D013"]
    assert message.tolist() == [
        "{path} does not hold gzip data; rename it to .csv",
        "pyro_popbias/data/file_content.py",
    ]


def test_a_code_means_one_thing(codes):
    files = codes.messages().groupby("code")["file"].nunique()
    assert set(files[files > 1].index) <= SHARED.keys(), "give the new message a code of its own, or say what is shared"
