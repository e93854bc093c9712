"""What a prompt and a notebook show of an object: a title, some named values, points, and what to do next.

As text it has ten lines at most. As HTML it is one box with its own style: no scripts, links or images, all text escaped, and the
colours of the notebook around it, light or dark.
"""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

MOST_LINES, WIDTH = 10, 110  # of the text
MOST_ROWS = 5  # of a table in it
Mark = Literal["", "good", "bad", "idle"]  # of a value or point: in HTML a colour beside words that say the same

TEMPLATE = """\
{% macro shown(table) %}<div class="popbias-wide"><table><thead><tr>{% for column in table.columns %}<th>{{ column }}</th>\
{% endfor %}</tr></thead>
<tbody>{% for cells in table.cells %}<tr>{% for cell in cells %}<td><bdi>{{ cell }}</bdi></td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>{% endmacro %}\
{% macro listed(points) %}<ul>{% for point in points %}<li class="{{ point.mark }}">{{ point.words }}</li>
{% endfor %}</ul>{% endmacro %}\
{% macro steps() %}<dt>next</dt><dd>{% for step in next_steps %}<code>{{ step }}</code>{{ " " if not loop.last }}\
{% endfor %}</dd>{% endmacro %}\
<div class="popbias-overview">
<style>
.popbias-overview { font: 14px/1.45 system-ui, sans-serif; max-width: 62rem; margin: .3rem 0; padding: .6rem .9rem;
  border: 1px solid rgba(128, 128, 128, .4); border-radius: 6px; color: inherit; overflow-wrap: anywhere; }
.popbias-overview .popbias-title { font-weight: 600; font-size: 15px; margin: 0 0 .35rem; }
.popbias-overview dl { display: grid; grid-template-columns: max-content minmax(0, 1fr); gap: .15rem 1rem; margin: 0; }
.popbias-overview dt { font-weight: 400; opacity: .72; margin: 0; padding: 0; }
.popbias-overview dd { margin: 0; padding: 0; }
.popbias-overview dd > bdi { display: block; }
.popbias-overview .good, .popbias-overview .bad, .popbias-overview .idle { border-left: 4px solid #8a8a8a; padding-left: .5rem; }
.popbias-overview .good { border-color: #2f9e5b; }
.popbias-overview .bad { border-color: #d0563c; }
.popbias-overview ul { list-style: none; margin: .4rem 0; padding: 0; }
.popbias-overview li { margin: .15rem 0; }
.popbias-overview code { font: 13px/1.4 ui-monospace, monospace; background: rgba(128, 128, 128, .16); color: inherit;
  padding: .05rem .3rem; border-radius: 3px; white-space: pre-wrap; }
.popbias-overview details { margin: .45rem 0 0; }
.popbias-overview summary { cursor: pointer; opacity: .85; }
.popbias-overview .popbias-wide { overflow-x: auto; }
.popbias-overview pre { font: 12px/1.4 ui-monospace, monospace; margin: .3rem 0 0; color: inherit; background: none;
  border: 0; padding: 0; }
.popbias-overview table { border-collapse: collapse; margin: .3rem 0 0; font-size: 13px; color: inherit; }
.popbias-overview th, .popbias-overview td { text-align: right; padding: .1rem .6rem; white-space: nowrap; background: none;
  border: 0; border-bottom: 1px solid rgba(128, 128, 128, .3); color: inherit; }
.popbias-overview th:first-child, .popbias-overview td:first-child { text-align: left; padding-left: 0; }
</style>
<div class="popbias-title {{ mark }}">{{ title }}</div>
<dl>{% for row in rows %}<dt>{{ row.name }}</dt><dd><bdi class="{{ row.mark }}">{{ row.words }}</bdi></dd>
{% endfor %}{% if next_steps and not points %}{{ steps() }}{% endif %}</dl>
{% if table %}{{ shown(table) }}{% endif %}{% if points %}{{ listed(points) }}{% endif %}
{% if next_steps and points %}<dl>{{ steps() }}</dl>{% endif %}
{% for each in folded %}<details><summary>{{ each.title }}</summary>
{% if each.columns %}{{ shown(each) }}{% elif each.text %}<div class="popbias-wide"><pre>{{ each.text }}</pre></div>\
{% else %}{{ listed(each.points) }}{% endif %}</details>
{% endfor %}</div>
"""


@dataclass(frozen=True)
class Point:
    """A sentence, or a named value where it has a name."""

    words: str
    mark: Mark = ""
    name: str = ""


@dataclass(frozen=True)
class Folded:
    """What HTML shows after a click and the text leaves out: a table, a text, or points.

    Attributes:
        title: what there is to see.
        columns: of the table.
        cells: of the table, row by row.
        text: as it stands, such as a file's.
        points: sentences.
    """

    title: str
    columns: Sequence[str] = ()
    cells: Sequence[Sequence[str]] = ()
    text: str = ""
    points: Sequence[Point] = ()

    @classmethod
    def of_table(cls, title: str, table: pd.DataFrame) -> "Folded":
        """Return a folded table."""
        return cls(title, [str(column) for column in table.columns], cells_of(table))


@dataclass(frozen=True)
class Overview:
    """An object at a glance.

    Attributes:
        title: what it is.
        mark: of the title.
        rows: named values.
        table: of values, where they are many.
        points: sentences, such as rules that do not hold.
        next_steps: calls that are likely to come next.
        folded: what HTML shows after a click.
    """

    title: str
    mark: Mark = ""
    rows: Sequence[Point] = ()
    table: Folded | None = None
    points: Sequence[Point] = ()
    next_steps: Sequence[str] = ()
    folded: Sequence[Folded] = ()

    def text(self) -> str:
        """Return the overview as text of ten lines at most; what does not fit is counted."""
        width = max((len(row.name) for row in self.rows), default=0)
        lines = [self.title]
        for row in self.rows:
            lines += _wrapped(row.words, f"  {row.name:{width}}  ")
        lines += _aligned(self.table) if self.table else []
        last = _wrapped(", ".join(self.next_steps), f"  {'next':{width}}  ") if self.next_steps else []
        points = [_wrapped(point.words, "  - ") for point in self.points]
        shown, room = [], MOST_LINES - len(lines) - len(last)
        while points and len(points[0]) + (len(points) > 1) <= room:
            shown += points[0]
            room -= len(points.pop(0))
        lines += shown + ([f"  and {len(points)} more"] if points else [])
        return "\n".join(map(_plain, lines[: MOST_LINES - len(last)] + last))

    def html(self) -> str:
        """Return the overview as HTML for a notebook; see the module."""
        from jinja2 import Environment, StrictUndefined  # only where a notebook asks

        return Environment(autoescape=True, undefined=StrictUndefined).from_string(TEMPLATE).render(vars(self))


def _plain(line: str) -> str:
    """Return a line without what would move a terminal's cursor or turn the direction of its text."""
    return "".join(letter if letter.isprintable() else " " for letter in line)


def _wrapped(words: str, indent: str) -> list[str]:
    """Return words as lines under an indent; breaks of lines in them are spaces."""
    return textwrap.wrap(
        " ".join(words.split()),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=" " * len(indent),
        max_lines=3,
        placeholder=" ...",
        break_on_hyphens=False,
    ) or [indent.rstrip()]


def _aligned(table: Folded) -> list[str]:
    """Return a table as lines: its header, and as many rows as fit."""
    frame = pd.DataFrame(list(table.cells), columns=list(table.columns))
    lines = frame.head(MOST_ROWS).to_string(index=False).splitlines()
    more = [f"  and {len(frame) - MOST_ROWS} more"] if len(frame) > MOST_ROWS else []
    return [line if len(line) <= WIDTH else f"{line[: WIDTH - 4]} ..." for line in lines] + more


def cells_of(table: pd.DataFrame) -> list[list[str]]:
    """Return the cells of a table as text: numbers with three digits, empty where missing."""
    return [[_shown(value) for value in row] for row in table.itertuples(index=False)]


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return "" if pd.isna(value) else f"{value:.3g}"
    if isinstance(value, bool):
        return "yes" if value else ""
    return f"{value:,}" if isinstance(value, int) else str(value)
