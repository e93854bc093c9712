"""Where ids, titles and names of a user come out: each sink gets hostile texts and must keep them from being active."""

import gzip
import io
import re
import tempfile
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd

import pyro_popbias as pb
from pyro_popbias.checks.check import Check
from pyro_popbias.cli.outputs import emit
from pyro_popbias.data.log_overview import FIRST_ROWS, overview_of
from pyro_popbias.data.table_files import write_table
from pyro_popbias.evaluation.comparison_table import ComparisonTable
from pyro_popbias.fitted import Fit
from pyro_popbias.report import fit_plots
from pyro_popbias.report.figure import as_png
from pyro_popbias.report.html import render

ACTIVE = {"script", "iframe", "object", "embed", "link", "base", "form", "svg"}
ADDRESSES = {"href", "src", "action", "formaction", "data", "poster", "srcset", "background"}
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\0")
NUMBER = re.compile(r"[+-]?\d*\.?\d+(e[+-]?\d+)?")


def payloads() -> list[str]:
    """Return 200 texts that would like to be scripts, formulas, templates, mathematics or paths."""
    kinds = {
        "scripts": [
            "<script>alert({n})</script>",
            "</td></tr></table><script src=//evil.example/{n}.js></script>",
            "<img src=x onerror=alert({n})>",
            '"><svg onload=alert({n})>',
            '<a href="javascript:alert({n})">x</a>',
            "</style><style>@import 'http://evil.example/{n}'</style>",
            "</title><base href=http://evil.example/{n}>",
            "<iframe srcdoc='<script>alert({n})</script>'></iframe>",
            "' onmouseover='alert({n})",
            "<!--{n}--><ScRiPt>alert(1)</sCrIpT>",
            "<math><mtext><style><img src=x onerror=alert({n})>",
            "&lt;script&gt;alert({n})&lt;/script&gt;",
            "\u0000<script>{n}</script>",
            "<body onload=alert({n})>",
            "<details open ontoggle=alert({n})>",
        ],
        "formulas": ["=cmd|' /C calc'!A{n}", "+cmd|{n}", "-{n}+1+cmd|' /C calc'!A0", "@SUM(1+{n})*cmd", "\t=1+{n}",
            "\r=1+{n}"],
        "templates": ["{{{{ 7 * 7 }}}}{n}", "{{% for x in ().__class__.__base__.__subclasses__() %}}{n}{{% endfor %}}",
            "${{7*7}}{n}"],
        "mathematics": ["$\\frac{{{n}", "$\\input{{/etc/passwd}}${n}", "$$x^{{{n}}}$", "\\write18{{ls {n}}}",
            "$\\unknown{{{n}}}$"],
        "paths": ["../../../etc/passwd{n}", "/etc/shadow{n}", "C:\\windows\\{n}", "file:///etc/passwd?{n}"],
        "other": ["\u202egnp.exe{n}", "nul\x00l{n}", "line\nfeed{n}", "{n}" + "x" * 10_000, "\u4e2d\u6587{n}",
            "\x1b[2J\x1b]0;{n}\x07"],
    }  # fmt: skip
    texts = [text for group in kinds.values() for text in group]
    return [texts[n % len(texts)].format(n=n) for n in range(200)]


@cache
def fitted() -> Fit:
    """Return a fit of as many items as there are texts."""
    rows = pd.DataFrame({"user": [f"u{n % 7}" for n in range(800)], "item": [f"i{n % 200:03}" for n in range(800)]})
    events = pb.Interactions.from_frame(rows.assign(label=rows.index // 200 % 2), label="label")
    training = {"epochs": 1, "phase_two": 1, "validation": 0.0, "device": "cpu"}
    return pb.fit(
        events, study=pb.Study(model={"affinity": {"name": "embedding", "dim": 2}}, training=training), progress=False
    )


def renamed(texts: Sequence[str]) -> Fit:
    """Return the fit with hostile ids of items, as a log could hold them."""
    fit = fitted()
    items = [*texts, *fit.catalogue.items[len(texts) :]]
    index = pd.Index(items, dtype=str)
    return replace(fit, catalogue=replace(fit.catalogue, items=index), events=None)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.active: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.active += [tag] if tag in ACTIVE else []
        for name, value in attrs:
            shown = tag == "img" and (value or "").startswith("data:image/png;base64,")
            if name.startswith("on") or (name in ADDRESSES and not shown):
                self.active.append(f"{tag} {name}={value}")


def _of_html(html: str) -> list[str]:
    reader = _Reader()
    reader.feed(html)
    opened = html[html.index("<head>") + 6 :].lstrip().startswith('<meta http-equiv="Content-Security-Policy"')
    computed = ["a template was computed"] if re.search(r"<td>49\d*</td>", html) else []
    return reader.active + computed + ([] if opened else ["no policy"])


def titles_in_report(texts: Sequence[str]) -> list[str]:
    """Return what is active in a report with such titles."""
    return _of_html(render(fitted(), dict(zip(fitted().catalogue.items, texts, strict=False)), Check((), {})))


def ids_in_report(texts: Sequence[str]) -> list[str]:
    """Return what is active in a report with such ids."""
    return _of_html(render(renamed(texts), {}, Check((), {})))


def names_in_report(texts: Sequence[str]) -> list[str]:
    """Return what is active in a report whose study names such columns and files."""
    return _of_html(render(_named(texts), {}, Check((), {})))


def _named(texts: Sequence[str]) -> Fit:
    """Return the fit, whose study names columns and files by all of the texts."""
    names = {name: " ".join(texts[start::3]) for start, name in enumerate(("path", "user", "item"))}
    return replace(fitted(), study=fitted().study.replace("data", **names))


def _formulas(content: str) -> list[str]:
    cells = pd.read_csv(io.StringIO(content), dtype=str, keep_default_na=False)["item"]
    return [cell[:40] for cell in cells if cell.startswith(FORMULA) and not NUMBER.fullmatch(cell)]


def _table(texts: Sequence[str], name: str) -> tuple[pd.DataFrame, bytes]:
    frame = pd.DataFrame({"item": list(texts), "score": 0.5})
    with tempfile.TemporaryDirectory() as folder:
        write_table(frame, Path(folder, name))
        return frame, Path(folder, name).read_bytes()


def csv(texts: Sequence[str]) -> list[str]:
    """Return cells of a CSV that a spreadsheet would run."""
    return _formulas(_table(texts, "t.csv")[1].decode())


def gzipped_csv(texts: Sequence[str]) -> list[str]:
    """Return cells of a gzipped CSV that a spreadsheet would run."""
    return _formulas(gzip.decompress(_table(texts, "t.csv.gz")[1]).decode())


def parquet_file(texts: Sequence[str]) -> list[str]:
    """Return texts that Parquet does not keep as they are."""
    frame, content = _table(texts, "t.parquet")
    kept = pd.read_parquet(io.BytesIO(content))["item"]
    return [text[:40] for text, now in zip(frame["item"], kept, strict=True) if text != now]


def pictures(texts: Sequence[str]) -> list[str]:
    """Return why a picture with such titles and ids cannot be drawn; as mathematics some would fail."""
    found = []
    for fit, names in ((fitted(), dict(zip(fitted().catalogue.items, texts, strict=False))), (renamed(texts), {})):
        try:
            if not as_png(fit_plots.popularity(fit, titles=names)).startswith(b"\x89PNG"):
                found.append("no PNG")
        except ValueError as error:
            found.append(str(error))
    return found


def terminal(texts: Sequence[str]) -> list[str]:
    """Return control characters that a printed table sends to a terminal."""
    out = io.StringIO()
    with redirect_stdout(out):
        emit(pd.DataFrame({"item": list(texts)}), None, as_json=False)
    return sorted(
        {repr(letter) for letter in out.getvalue() if letter != "\n" and not letter.isprintable() and letter < "\xa0"}
    )


def card(texts: Sequence[str]) -> list[str]:
    """Return texts that the card of a run holds as they are."""
    shown = _named(texts).card
    return [text[:40] for text in texts if text in shown]


def overviews(texts: Sequence[str]) -> list[str]:
    """Return what is active where a notebook shows a fit, its study, interactions with such ids and fits of such names."""
    pages = [_named(texts)._repr_html_(), _named(texts).study._repr_html_()]
    for start in range(0, len(texts), FIRST_ROWS):
        ids = list(texts[start : start + FIRST_ROWS])
        columns = {"user": ids, "item": ids, "label": None, "time": None}
        pages.append(overview_of(fitted().catalogue, columns, "time").html())
    one = pb.compare({"name": replace(fitted(), events=None)})
    compared = ComparisonTable(pd.concat([one] * len(texts)).assign(name=list(texts), note=list(texts)))
    reader = _Reader()
    for page in [*pages, compared._repr_html_()]:
        reader.feed(page)
    orders = {repr(letter) for letter in repr(compared) if letter != "\n" and not letter.isprintable()}
    computed = ["a template was computed"] if any(re.search(r">49\d*<", page) for page in pages) else []
    return reader.active + computed + sorted(orders)


SINKS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "titles in a report": titles_in_report,
    "ids in a report": ids_in_report,
    "names in a report": names_in_report,
    "CSV": csv,
    "gzipped CSV": gzipped_csv,
    "Parquet": parquet_file,
    "pictures": pictures,
    "terminal": terminal,
    "card": card,
    "notebook": overviews,
}


def active(name: str, texts: Sequence[str]) -> list[str]:
    """Return what is active of some texts in a sink."""
    return SINKS[name](texts)
