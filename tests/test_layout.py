import ast
import configparser
import doctest
import graphlib
import importlib
import inspect
import re
import shutil
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# from the ground up: a folder or root file imports from floors below its own, and from itself
FLOORS = [
    ["version", "errors", "lazy_imports"],
    ["progress", "sparse_lookup", "registry"],
    ["validation"],
    ["distributions", "data"],
    ["models"],
    ["guides"],
    ["objective"],
    ["simulation", "prediction"],
    ["evaluation"],
    ["study"],
    ["assembly"],
    ["training"],
    ["trained"],
    ["checks", "inference_data", "storage"],
    ["report", "comparison"],
    ["fitted"],
    ["updating", "explore"],
    ["interfaces"],
    ["cli"],
    ["__main__"],
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
MOST_ROOT_FILES = 14
MOST_ROOMS = 33  # root files, and folders that hold modules
MOST_LINES = {"file": 350, "median file": 100, "function without its docstring": 48, "ninth decile of functions": 25}
TEMPLATES = ["base", "drift", "error", "item", "knob", "missing", "parts", "search", "start", "user", "waiting"]
PAGES = [f"explore/{name}" for name in ("explore.css", "explore.js", *(f"{name}.html" for name in TEMPLATES))]
DATA_FILES = ["py.typed", "cli/study_template.toml", "report/template.html", *PAGES]


def package_dirs():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = setup["options"]["package_dir"].split("\n")
    return dict(re.split(r"\s*=\s*", line.strip()) for line in lines if line.strip()), setup["options"][
        "packages"
    ].split()


def modules():
    """Return the path of every module by its real name."""
    found = {}
    for package, folder in package_dirs()[0].items():
        for path in sorted((ROOT / folder).glob("*.py")):
            found[package if path.stem == "__init__" else f"{package}.{path.stem}"] = path
    return found


MODULES = modules()


TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}


def imports(tree):
    """Return the modules of the package that a file imports: at its top, in functions, and for type checking."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"line {node.lineno}: write the import in full"
            children = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (children & MODULES.keys()) or {node.module}
    return found & MODULES.keys()


def room_of(module):
    """Return the folder of a module, or the root file that it is."""
    return module.removeprefix("pyro_popbias.").partition(".")[0]


def upward(module, tree):
    """Return what a module imports from its own floor or one above, other than its own folder."""
    floor = {**FLOOR, "pyro_popbias": len(FLOORS)}  # the package itself has all public names
    one = room_of(module)
    return [other for other in imports(tree) if room_of(other) != one and floor[room_of(other)] >= floor[one]]


def in_order(trees):
    """Return modules such that each comes after what it imports; a circle is a CycleError that names it."""
    return list(
        graphlib.TopologicalSorter({name: imports(tree) - {name} for name, tree in trees.items()}).static_order()
    )


INNER = [name for name in MODULES if name != "pyro_popbias"]


@pytest.mark.parametrize("module", INNER)
def test_imports_from_no_floor_above(module):
    assert not upward(module, TREES[module])


def test_no_import_cycles():
    assert in_order({name: TREES[name] for name in INNER})


@pytest.mark.parametrize(
    "text",
    [
        "from pyro_popbias.fitted import Fit",
        "import pyro_popbias.fitted",
        "from pyro_popbias import fitted",
        "from pyro_popbias import fit",  # by way of the package's public names
        "from pyro_popbias.storage.run_folder import read_run",  # the same floor
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from pyro_popbias.fitted import Fit",
        "def late():\n    from pyro_popbias.fitted import Fit",
    ],
)
def test_an_upward_import_is_seen(text):
    assert upward("pyro_popbias.checks.check", ast.parse(text))


def test_a_downward_import_is_right():
    text = "from pyro_popbias.trained import Trained\nfrom pyro_popbias.checks.finding import Finding"
    assert not upward("pyro_popbias.checks.check", ast.parse(text))


def test_a_relative_import_is_refused():
    with pytest.raises(AssertionError, match="line 1: write the import in full"):
        imports(ast.parse("from .finding import Finding"))


def test_a_circle_of_two_files_is_seen():
    one, two = "pyro_popbias.checks.check", "pyro_popbias.checks.finding"
    trees = {one: ast.parse(f"import {two}"), two: ast.parse(f"def late():\n    import {one}")}
    with pytest.raises(graphlib.CycleError, match="nodes are in a cycle"):
        in_order(trees)


def test_every_room_has_its_floor():
    assert {room_of(name) for name in INNER} == set(FLOOR)


def test_rooms_are_few():
    doors = ("__init__", "__main__")  # ways in, and no rooms
    root_files = [path for path in (ROOT / "pyro_popbias").glob("*.py") if path.stem not in doors]
    folders = {path.parent for path in MODULES.values()} - {ROOT / "pyro_popbias"}
    assert len(root_files) <= MOST_ROOT_FILES
    assert len(root_files) + len(folders) <= MOST_ROOMS


def functions():
    """Yield the module and the tree of every function of the package."""
    for name, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield name, node


def test_files_are_short():
    lines = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert not {name: number for name, number in lines.items() if number > MOST_LINES["file"]}
    assert statistics.median(lines.values()) <= MOST_LINES["median file"]


def test_functions_are_short():
    lines = {(name, node.name, node.lineno): node.end_lineno - node.lineno + 1 for name, node in functions()}
    code = {
        (name, node.name, node.lineno): lines[name, node.name, node.lineno]
        - len((ast.get_docstring(node) or "").splitlines())
        for name, node in functions()
    }
    assert not {
        where: number for where, number in code.items() if number > MOST_LINES["function without its docstring"]
    }
    assert statistics.quantiles(lines.values(), n=10)[8] <= MOST_LINES["ninth decile of functions"]


def test_everything_is_annotated():
    for name, node in functions():
        every = node.args
        arguments = [*every.posonlyargs, *every.args, *every.kwonlyargs, every.vararg, every.kwarg]
        bare = [each.arg for each in arguments if each and not each.annotation and each.arg not in ("self", "cls")]
        assert node.returns, f"{name}.{node.name}, line {node.lineno}: no return type"
        assert not bare, f"{name}.{node.name}, line {node.lineno}: {bare}"


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.name)
def test_every_expected_error_names_its_message(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("pytest.raises", "pytest.warns"):
            assert "match" in {keyword.arg for keyword in node.keywords}, f"line {node.lineno}"


def test_folders_are_the_packages_of_setup_cfg():
    folders, packages = package_dirs()
    there = {
        str(path.parent.relative_to(ROOT))
        for top in ("pyro_popbias", "models", "guides")
        for path in (ROOT / top).rglob("*.py")
    }
    assert there == set(folders.values())
    assert packages == list(folders)


@pytest.mark.slow
def test_wheel_holds_every_module(tmp_path):
    source = tmp_path / "source"  # a fresh copy: a build folder in the checkout may hold modules that are gone
    skipped = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "docs", "tests")
    shutil.copytree(ROOT, source, ignore=skipped)
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info" not in name}
    folders = package_dirs()[0]
    expected = {
        f"{package.replace('.', '/')}/{path.name}"
        for package, folder in folders.items()
        for path in (ROOT / folder).glob("*.py")
    }
    assert inside == expected | {f"pyro_popbias/{name}" for name in DATA_FILES}


@pytest.mark.parametrize("name", ["models", "guides"])
def test_import_by_the_folder_is_refused(name):
    done = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert f"ImportError: import this package as pyro_popbias.{name}" in done.stderr


@pytest.mark.parametrize("module", MODULES)
def test_doctests(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def public(module):
    """Return the public classes and functions that a module defines, and the public methods of its classes."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", "") != module.__name__:
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            yield name, value
        if inspect.isclass(value):
            for inner, member in vars(value).items():
                member = getattr(member, "__func__", getattr(member, "fget", member))
                if not inner.startswith("_") and inspect.isfunction(member):
                    yield f"{name}.{inner}", member


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_has_a_docstring(name):
    module = importlib.import_module(name)
    assert module.__doc__
    assert not [what for what, value in public(module) if not (value.__doc__ or "").strip()]


@pytest.mark.parametrize("module", MODULES)
def test_no_print(module):
    calls = [node for node in ast.walk(TREES[module]) if isinstance(node, ast.Call)]
    assert not [node.lineno for node in calls if isinstance(node.func, ast.Name) and node.func.id == "print"]


def opening(node):
    """Return the text with which an expression opens, or None where it is made elsewhere."""
    if isinstance(node, ast.BinOp):
        return opening(node.left)
    if isinstance(node, ast.JoinedStr):
        return opening(node.values[0])
    return node.value if isinstance(node, ast.Constant) else None


@pytest.mark.parametrize("name", MODULES)
def test_messages_open_with_a_code(name):
    errors = importlib.import_module("pyro_popbias.errors")
    for node in ast.walk(TREES[name]):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and hasattr(errors, node.func.id)):
            continue
        text = opening(node.args[0]) if node.args else ""
        if text is not None:
            assert re.match(r"PB-[DCNR]\d{3}: ", text), f"line {node.lineno}: {text}"


@pytest.mark.slow
@pytest.mark.parametrize("order", ["import", "use"])
def test_public_names_are_not_hidden_by_their_modules(order):
    """`pb.pair` must be the function, also after something has imported the module that defines it."""
    homes = importlib.import_module("pyro_popbias")._HOMES
    names = " ".join(homes.values()).split()
    first = "".join(f"import pyro_popbias.{home}\n" for home in homes) if order == "import" else ""
    hidden = f"[name for name in {names} if isinstance(getattr(pb, name), types.ModuleType)]"
    code = f"{first}import types, pyro_popbias as pb\nprint({hidden})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_import_of_the_package_is_light():
    heavy = ["torch", "arviz", "pandas", "pyro"]
    code = f"import sys, pyro_popbias\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT.parent, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
