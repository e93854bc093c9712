"""The pages: a page for every module, and the README's example as it stands there."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
API = ROOT / "docs" / "api"
TUTORIALS = ROOT / "docs" / "tutorials"
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
