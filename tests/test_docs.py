"""The pages: one for every module, studies that are allowed, words that are explained, and the README's example as it stands."""

import ast
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pyro_popbias as pb
from pyro_popbias.report.fit_pictures import PICTURES

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
API, TUTORIALS = DOCS / "api", DOCS / "tutorials"
HOMES = {"pyro_popbias": "pyro_popbias", "models": "pyro_popbias.models", "guides": "pyro_popbias.guides"}


def modules():
    for folder, package in HOMES.items():
        for file in sorted((ROOT / folder).rglob("*.py")):
            parts = [package, *file.relative_to(ROOT / folder).with_suffix("").parts]
            yield ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("module", sorted(modules()))
def test_every_module_has_its_page(module):
    page = API / f"{module}.md"
    assert page.exists(), f"write {page.relative_to(ROOT)}"
    assert f"automodule:: {module}\n" in page.read_text(encoding="utf-8")
    assert f"\n{module}\n" in (API / "index.md").read_text(encoding="utf-8")


def test_every_page_has_its_module():
    assert {page.stem for page in API.glob("*.md")} - {"index"} == set(modules())


def test_a_caption_of_the_reference_has_one_folder():
    """What users call, and the internals, are root files; each list between them is a folder, which opens it."""
    index = (API / "index.md").read_text(encoding="utf-8")
    blocks = [re.findall(r"^pyro_popbias.*$", block, flags=re.MULTILINE) for block in index.split("```{toctree}")[1:]]
    first, *folders, last = blocks
    assert first[0] == "pyro_popbias"
    assert all(module.count(".") <= 1 for module in first + last)
    for package, *inner in folders:
        assert inner == sorted(module for module in modules() if module.startswith(f"{package}."))


def page(name):
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def studies(name):
    """Return the TOML blocks of a page, by the line that opens them."""
    for found in re.finditer(r"^```toml\n(.*?)^```", page(name), flags=re.DOTALL | re.MULTILINE):
        yield pytest.param(found[1], id=f"{name}-{page(name)[: found.start()].count(chr(10)) + 1}")


@pytest.mark.parametrize("text", [*studies("which-variant"), *studies("coming-from-recbole")])
def test_a_study_of_the_pages_is_one_that_is_fitted(text, tmp_path):
    """Keys and values are read, the parts go together, and columns are named where files are read."""
    (tmp_path / "study.toml").write_text(text, encoding="utf-8")
    study = pb.Study.from_toml(tmp_path / "study.toml")
    table = pb.variants().set_index(["model", "prior", "guide"])
    variant = table.loc[(study.model.name, study.model.prior.name, study.guide.name)]
    assert variant["allowed"], variant["reason"]
    assert study.data.label or "exposure" not in tomllib.loads(text)["model"] or study.model.exposure == "none"


def test_every_row_of_the_decision_table_has_its_study():
    text = page("which-variant")
    rows = re.findall(r"^\| .*? \| \[\w+\]\(#(\w+)\) \| ([\w-]+),", text, flags=re.MULTILINE)
    assert len(rows) >= 10
    for anchor, model in rows:
        section = re.split(r"^\(\w+\)=$", text.partition(f"\n({anchor})=\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
        assert "*Caveat*" in section, f"#{anchor} has no caveat"
        assert tomllib.loads(re.search(r"```toml\n(.*?)```", section, flags=re.DOTALL)[1])["model"]["name"] == model


def test_every_term_of_the_glossary_says_where_it_is_used():
    entries = re.findall(
        r"^(\S.*)\n((?:  .*\n)+)", page("glossary").partition("```{glossary}\n")[2], flags=re.MULTILINE
    )
    assert len(entries) >= 25
    for term, text in entries:
        linked = re.findall(r"\]\(([\w-]+)\.md(?:#[\w-]+)?\)", re.sub(r"\s+", " ", text).replace("] (", "]("))
        assert linked, f"{term} names no page"
        assert all((DOCS / f"{name}.md").exists() for name in linked), f"{term} names a page that is not there"


def test_the_topics_have_all_that_a_user_calls():
    text = page("topics")
    public = [f"pb.{name}" for name in pb.__all__ if not name.startswith("__")]
    methods = [f"fit.{name}" for name, _ in inspect.getmembers(pb.Fit, inspect.isfunction) if not name.startswith("_")]
    pictures = [f"fit.plot.{name}" for name in PICTURES]
    internal = {"fit.chains", "fit.scorer", "fit.known"}
    missing = [name for name in [*public, *methods, *pictures] if f"`{name}" not in text and name not in internal]
    assert not missing, "put them on docs/topics.md"


def test_every_tutorial_is_listed_and_ends_in_a_decision():
    """Their cells are executed by `make docs`; that they are Python is seen here."""
    index = (TUTORIALS / "index.md").read_text(encoding="utf-8")
    names = re.findall(r"^[a-z-]+$", index.split("```{toctree}")[1], flags=re.MULTILINE)
    assert sorted(names) == sorted(page.stem for page in TUTORIALS.glob("*.md") if page.stem != "index")
    assert "\ntutorials/index\n" in (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    for name in names:
        assert f"({name}.md)" in index
        page = (TUTORIALS / f"{name}.md").read_text(encoding="utf-8")
        assert re.search(r"decide|go or no-go", page.split("\n## ")[-1], flags=re.IGNORECASE), name
        cells = re.findall(r"```\{code-cell\} python\n(.*?)```", page, flags=re.DOTALL)
        assert all(ast.parse(cell).body for cell in cells)


@pytest.mark.slow
def test_readme_example_runs_as_it_stands(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    (tmp_path / "example.py").write_text(blocks[0], encoding="utf-8")
    done = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "score" in done.stdout
    assert re.search(r"^all \d+ rules hold", done.stdout, flags=re.MULTILINE), done.stdout
