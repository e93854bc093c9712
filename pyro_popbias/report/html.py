"""A report of a fit: one self-contained HTML file without scripts.

It has no scripts, links or external resources: the first element of its head is a content security policy that allows
only embedded images and the one style sheet whose hash it names. All text is escaped.
"""

import base64
import hashlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from matplotlib.axes import Axes

from pyro_popbias.checks.check import Check, check
from pyro_popbias.data.atomic_files import write_atomically
from pyro_popbias.data.interactions import Interactions
from pyro_popbias.data.overview import cells_of
from pyro_popbias.errors import DataError, RunFolderError
from pyro_popbias.prediction.posterior_tables import kind_of_interval
from pyro_popbias.report import check_plots, quality_plot
from pyro_popbias.report import fit_plots as plots
from pyro_popbias.report.calibration_plot import calibration
from pyro_popbias.report.evaluation_section import evaluation_section
from pyro_popbias.report.figure import clean
from pyro_popbias.report.picture import Picture
from pyro_popbias.report.titles import read_titles
from pyro_popbias.storage.card import card, warning
from pyro_popbias.storage.run_folder import versions
from pyro_popbias.trained import Trained

ITEMS = 200  # rows of the table; popularity.csv in a run folder has all items
EXTREMES = 10  # items of highest and of lowest quality
LONGEST = 120  # characters of an id or title
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 72rem; margin: 0 auto; padding: 1rem; }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; }
p, li { overflow-wrap: anywhere; }
.good { color: #1d6b34; } .idle { color: #666; } .bad { color: #a3271c; font-weight: 600; }
.pictures { display: flex; flex-wrap: wrap; align-items: flex-start; gap: 1rem; }
.pictures img { width: 34rem; max-width: 100%; height: auto; }
.wide, pre { overflow-x: auto; } pre { background: #f4f4f4; padding: .8rem; }
table { border-collapse: collapse; font-size: .9rem; } th, td { padding: .2rem .7rem; border-bottom: 1px solid #ddd; }
th, td { text-align: right; white-space: nowrap; } th:first-child, td:first-child { text-align: left; }
th:nth-child(2), td:nth-child(2) { text-align: left; }
"""


def write_report(
    fit: Trained,
    path: str | Path,
    *,
    titles: Any = None,
    checked: Check | None = None,
    test: Interactions | None = None,
    candidates: str = "all",
) -> None:
    """Write the report of a fit atomically.

    Args:
        fit: the fit.
        path: path of the HTML file.
        titles: titles of items: a mapping, a table with columns item and title, or the path of such a table.
        checked: the checks of the fit; run here if left out.
        test: rows that were not trained on, to evaluate the fit on.
        candidates: as in `Fit.evaluate`.

    Raises:
        DataError: the titles or the test are not usable.
        ConfigError: candidates is not one of the choices.
        RunFolderError: the file cannot be written.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise RunFolderError(f"PB-R100: cannot write {path}: folder {path.parent} does not exist; create it first")
    names = read_titles(titles)
    evaluation = evaluation_section(
        fit, test, candidates
    )  # a test that cannot be used is refused before the checks run
    write_atomically(path, render(fit, names, checked, evaluation).encode())


def render(
    fit: Trained,
    titles: Mapping[str, str],
    checked: Check | None = None,
    evaluation: Mapping[str, Any] | None = None,
) -> str:
    """Return the report as HTML.

    Args:
        fit: the fit.
        titles: titles of items.
        checked: the checks of the fit; run here if left out.
        evaluation: what `evaluation_section` returns.
    """
    template = (files("pyro_popbias.report") / "template.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    heading, *lines = (part for part in card(fit).split("\n") if part)
    style_hash = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    return environment.from_string(template).render(
        name=heading.removeprefix("# "),
        card=lines,
        warning=warning(fit).strip(),
        kind_of_interval=kind_of_interval(fit.model, fit.study.data.negatives),
        style=Markup(STYLE),  # noqa: S704  a constant of this file
        style_hash=style_hash,
        study=fit.study.with_names_of_files().to_toml(),
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
        evaluation=evaluation,
        **_checks(fit, checked),
        quality=_quality(fit, titles),
        **_popularity(fit, titles),
        **_training(fit),
    )


def _checks(fit: Trained, checked: Check | None) -> dict[str, Any]:
    """Return the findings of the checks, or why there are none."""
    try:
        checked = checked or check(fit)
    except DataError as error:
        return {"passed": False, "verdict": f"Not checked: {error}", "findings": (), "check_pictures": ()}
    remedy = "" if checked.passed else "; read the failing rules before you use the fit"
    table = checked.tables.get("items")
    drawn: tuple[Axes, ...] = ()
    if table is not None:
        drawn = check_plots.predictive(fit, checked=checked), check_plots.click_rate_by_decile(table)
        drawn += () if fit.events is None else (calibration(fit),)
    return {
        "passed": checked.passed,
        "verdict": f"{checked.verdict[0].upper()}{checked.verdict[1:]}{remedy}.",
        "findings": sorted(checked.findings, key=lambda finding: finding.passed),
        "check_pictures": [Picture.of(ax) for ax in drawn],
    }


def _popularity(fit: Trained, titles: Mapping[str, str]) -> dict[str, Any]:
    table = fit.popularity()
    rows = table.groupby("item", sort=False)["count"].sum().sort_values(ascending=False, kind="stable")
    place = table["item"].map(pd.Series(range(len(rows)), index=rows.index))
    table = table.assign(place=place).query("place < @ITEMS").sort_values("place", kind="stable").drop(columns="place")
    title = table["item"].map(lambda item: clean(titles.get(item, ""), LONGEST))
    table = table.assign(item=table["item"].map(lambda item: clean(item, LONGEST)))
    table.insert(1, "title", title)
    columns = [name for name in table.columns if name != "period" or fit.catalogue.periods > 1]
    drawn = (
        plots.popularity(fit, titles=titles),
        plots.prior_posterior(fit),
        plots.against_count(fit),
        plots.against_share(fit),
    )
    return {
        "pictures": [Picture.of(ax) for ax in drawn],
        "items": cells_of(table[columns]),
        "item_columns": [name.replace("_", " ") for name in columns],
        "known_items": f"{len(fit.catalogue.items):,}",
        "shown_items": min(ITEMS, len(fit.catalogue.items)),
    }


def _quality(fit: Trained, titles: Mapping[str, str]) -> dict[str, Any] | None:
    """Return the section on quality: its picture, and the best and worst items; None where items have no quality."""
    if fit.model.affinity.item_quality is None:
        return None
    ax = quality_plot.quality(fit, titles=titles)
    table = fit.items().query("count >= @quality_plot.LEAST_ROWS").sort_values("quality", ascending=False)
    title = table["item"].map(lambda item: clean(titles.get(item, ""), LONGEST))
    table = table.assign(item=table["item"].map(lambda item: clean(item, LONGEST))).drop(columns="quality_sd")
    table.insert(1, "title", title)
    return {
        "picture": Picture.of(ax, quality_plot.described_in_words(ax)),
        "rows": quality_plot.LEAST_ROWS,
        "columns": [name.replace("_", " ") for name in table.columns],
        "tables": {"highest": cells_of(table.head(EXTREMES)), "lowest": cells_of(table.tail(EXTREMES).iloc[::-1])},
    }


def _training(fit: Trained) -> dict[str, Any]:
    table = fit.parameters()
    return {
        "training_pictures": [Picture.of(plots.history(fit))],
        "parameters": cells_of(table),
        "parameter_columns": list(table.columns),
    }
