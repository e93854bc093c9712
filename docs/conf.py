"""Sphinx configuration; `make docs` builds with every notebook cell executed and every warning an error."""

import hashlib
import inspect
import re
import sys
from pathlib import Path

from pyro_popbias.version import __version__

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))  # error_directive


def package_hash():
    """Return the hash of all that the outputs of the pages depend on beside their cells: the code and the versions."""
    sources = (path for top in ("pyro_popbias", "models", "guides") for path in (ROOT / top).rglob("*"))
    files = [ROOT / "constraints.txt", *sorted(path for path in sources if path.is_file() and path.suffix != ".pyc")]
    digest = hashlib.sha256()
    for path in files:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT)} {len(content)} ".encode() + content)
    return digest.hexdigest()[:16]


project = "pyro-popbias"
author = "the pyro-popbias contributors"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_design", "error_directive"]
html_theme = "pydata_sphinx_theme"
WIDE = ["index", *(f"coming-from-{name}" for name in ("recbole", "scvi-tools", "pymc", "bambi"))]
html_title = f"pyro-popbias {__version__}"
# the groups of pages are many: the header names none of them, the left column all
html_theme_options = {
    "navigation_with_keys": False,
    "show_prev_next": False,
    "navbar_center": [],
    "show_nav_level": 1,
    "navigation_depth": 2,
    # what stands side by side needs the width of the right column
    "secondary_sidebar_items": {"**": ["page-toc", "sourcelink"]} | {name: [] for name in WIDE},
}
html_sidebars = {"**": ["navigation"]}
exclude_patterns = ["_build", "_templates", "jupyter_execute"]
default_role = "code"  # docstrings write `name` for code

templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / ".jupyter_cache" / package_hash())
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 600
nb_output_stderr = "remove"  # progress

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False  # what follows `Returns:` is prose, types stand in the signature

# pages of other projects are not linked: a build needs no network
_EXTERNAL = (
    "torch pyro pandas numpy scipy xarray arviz pydantic pydantic_core rich typer matplotlib pathlib collections "
    "contextlib types abc annotated_types enum pyarrow multiprocessing sklearn lenskit mlflow starlette socket"
)
nitpick_ignore_regex = [("py:.*", rf"({'|'.join(_EXTERNAL.split())})(\..*)?")]
# how annotations write classes of other projects, and type variables
nitpick_ignore_regex += [
    (
        "py:.*",
        r"(Tensor|Distribution|TorchDistribution|Path|Axes|Dtype|QueryParams|sparse\..*|np\..*|pd\..*|xr\..*|az\..*|.*\.T)",
    )
]
# the ranges of a study's keys, base classes that are nobody's concern, and a type cut at its comma
nitpick_ignore_regex += [
    ("py:class", r"(FieldInfo|NoneType|Strict|AllowInfNan|[GL][et]|[-+.e0-9]+)"),
    ("py:class", r"pyro_popbias\..*\._\w+"),
    ("py:class", r"(list\[dict|tuple)\[str"),
    ("py:obj", r"typing\.Annotated\[bool"),
    # the tags of `[training] validation`, a number or a table
    ("py:class", r"number|table|pyro_popbias\.study\.validation_config\.Annotated"),
]

_ROW = re.compile(r"\s*\|.*\|\s*")


def tables_to_rst(_app, _what, _name, _object, _options, lines):
    """Turn the Markdown tables of docstrings into list tables."""
    result, rows = [], []
    for line in [*lines, ""]:
        if _ROW.fullmatch(line):
            rows.append([cell.strip() for cell in line.strip()[1:-1].split("|")])
            continue
        if rows:
            result += [".. list-table::", "   :header-rows: 1", ""]
            for row in (rows[0], *rows[2:]):
                result += [f"   {'* -' if first else '  -'} {cell}" for first, cell in _flagged(row)]
            result.append("")
            rows = []
        result.append(line)
    lines[:] = result


def _flagged(row):
    return [(place == 0, cell) for place, cell in enumerate(row)]


def list_exports(_app, what, name, package, _options, lines):
    """Add to the page of a package what it exports, with the first line of each."""
    if what != "module" or not hasattr(package, "__path__"):
        return
    for exported in getattr(package, "__all__", ()):
        value = getattr(package, exported)
        home = f"{getattr(value, '__module__', '')}"
        if (inspect.isclass(value) or inspect.isfunction(value)) and home.startswith("pyro_popbias."):
            lines.append(f"* :py:obj:`{exported} <{home}.{value.__name__}>`: {value.__doc__.strip().splitlines()[0]}")
        elif not inspect.ismodule(value):
            lines.append(f"* ``{exported}``")
    lines.append("")


def setup(app):
    """Connect the hooks."""
    app.connect("autodoc-process-docstring", list_exports)
    app.connect("autodoc-process-docstring", tables_to_rst)
