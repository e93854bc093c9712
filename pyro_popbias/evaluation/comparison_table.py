"""Fits side by side, as a table that shows at a prompt and in a notebook what one compares them by."""

from collections.abc import Iterator, Mapping
from typing import Any, final

import pandas as pd

from pyro_popbias.data.overview import Folded, Overview, Point

DIGITS: Mapping[str, str] = {"log_score": ".4f", "kl": ".3g", "seconds": ".1f"}
UNITS = (
    "log_score in nats per row, kl in nats, seconds in s; differences are from the first fit that was given, with intervals of a "
    "paired bootstrap over users"
)


@final
class ComparisonTable(pd.DataFrame):
    """What `pb.compare` returns: a DataFrame with a view of its own; whatever is made of it is a plain DataFrame."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        return self._overview().text() if self._is_whole() else super().__repr__()

    def _repr_html_(self) -> str:
        return self._overview().html() if self._is_whole() else self.to_html(max_rows=60)

    def _is_whole(self) -> bool:
        """Return whether the columns of the view are there, which may have been deleted."""
        return len(self) > 0 and {"name", "model", "guide", "note", *DIGITS} <= set(self.columns)

    def _overview(self) -> Overview:
        rows = [list(self._cells(row)) for row in pd.DataFrame(self).to_dict("records")]
        columns, cells = [name for name, _ in rows[0]], [[cell for _, cell in row] for row in rows]
        names = {
            str(note): ", ".join(map(str, part["name"])) for note, part in pd.DataFrame(self).groupby("note") if note
        }
        return Overview(
            f"Comparison of {len(self)} fit{'s' if len(self) != 1 else ''}, the best first",
            table=Folded("", columns, cells),
            points=[Point(f"{who}: {note}") for note, who in names.items()],
            folded=[Folded.of_table("Every column", pd.DataFrame(self)), Folded("Units", points=[Point(UNITS)])],
        )

    def _cells(self, row: Mapping[Any, Any]) -> Iterator[tuple[str, str]]:
        """Yield what is shown of a fit, by column."""
        yield "name", str(row["name"])
        for name in ("model", "guide"):
            if self[name].nunique() > 1:
                yield name, str(row[name])
        for name, digits in DIGITS.items():
            if self[name].notna().any():
                yield name, _number(row[name], digits)
        for name in self.columns:
            if f"{name}_difference" in self.columns:
                gap, lower, upper = (row[f"{name}_difference{end}"] for end in ("", "_lower", "_upper"))
                yield name, _number(row[name], ".4f")
                yield "difference", f"{gap:+.4f} ({lower:+.4f}, {upper:+.4f})" if lower < upper else ""


def _number(value: float, digits: str) -> str:
    return "" if pd.isna(value) else format(value, digits)
