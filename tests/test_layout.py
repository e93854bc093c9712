import ast
import configparser
import doctest
import graphlib
import importlib
import inspect
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# from the ground up: a folder or root file imports from floors below its own, and from itself
FLOORS = [
    ["version", "errors", "lazy_imports"],
    ["progress", "validation", "sparse_lookup", "registry"],
    ["section"],
    ["distributions", "data"],
    ["models"],
    ["guides"],
    ["objective"],
    ["study", "simulation", "prediction"],
    ["assembly"],
    ["training"],
    ["trained"],
    ["checks", "inference_data", "storage"],
    ["report", "comparison"],
    ["fitted"],
    ["cli"],
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
MOST_ROOT_FILES = 14
DATA_FILES = ["py.typed", "cli/study_template.toml", "report/template.html"]


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


def imports(path):
    """Return the modules of the package that a file imports, for type checking too."""
    found, waiting = set(), [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            children = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (children & MODULES.keys()) or {node.module}
        waiting.extend(ast.iter_child_nodes(node))
    return found & MODULES.keys()


def room_of(module):
    """Return the folder of a module, or the root file that it is."""
    return module.removeprefix("pyro_popbias.").partition(".")[0]


def stands_below(other, module):
    one, two = room_of(other), room_of(module)
    return one == two or FLOOR[one] < FLOOR[two]


INNER = [name for name in MODULES if name != "pyro_popbias"]


@pytest.mark.parametrize("module", INNER)
def test_imports_from_no_floor_above(module):
    others = imports(MODULES[module]) - {"pyro_popbias"}
    assert not [other for other in others if not stands_below(other, module)]


def test_every_room_has_its_floor():
    rooms = {room_of(name) for name in INNER}
    assert rooms == set(FLOOR)
    assert len(list((ROOT / "pyro_popbias").glob("*.py"))) <= MOST_ROOT_FILES


def test_no_import_cycles():
    graph = {name: imports(path) - {name, "pyro_popbias"} for name, path in MODULES.items() if name in INNER}
    assert list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the cycle


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
    calls = [node for node in ast.walk(ast.parse(MODULES[module].read_text())) if isinstance(node, ast.Call)]
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
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and hasattr(errors, node.func.id)):
            continue
        text = opening(node.args[0]) if node.args else ""
        if text is not None:
            assert re.match(r"PB-[DCNR]\d{3}: ", text), f"line {node.lineno}: {text}"


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
