"""A study at a glance: the keys that differ from their defaults, as code, and in a notebook as a table."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from pyro_popbias.data.overview import WIDTH, Folded, Overview, Point
from pyro_popbias.validation import written

MOST_LINES_OF_SECTION = 2


def as_code(changed: Mapping[str, Any]) -> str:
    """Return the call that makes a study, as long as it is short; values in long sections are left out.

    Args:
        changed: values by section and key that differ from the defaults.
    """
    sections = [f"{name}={written(keys)}" for name, keys in changed.items()]
    line = f"Study({', '.join(sections)})"
    if len(line) <= WIDTH:
        return line
    lines = [each for section in sections for each in _wrapped(f"{section},")]
    return "\n".join(["Study(", *lines, ")"])


def _wrapped(section: str) -> list[str]:
    return textwrap.wrap(
        section,
        WIDTH,
        initial_indent="    ",
        subsequent_indent="        ",
        max_lines=MOST_LINES_OF_SECTION,
        placeholder=" ...},",
        break_on_hyphens=False,
    )


def overview_of(changed: Mapping[str, Any], toml: str) -> Overview:
    """Return a study at a glance.

    Args:
        changed: as in `as_code`.
        toml: the whole study as a file.
    """
    rows = [Point(words, name=name) for name, words in _flat("", changed)]
    return Overview(
        "Study: what differs from the defaults" if rows else "Study: every key at its default",
        rows=rows,
        next_steps=("pb.fit(frame, study=study)",),
        folded=[Folded("Every key, as a study file", text=toml)],
    )


def _flat(prefix: str, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the values of nested mappings in words, by their dotted names."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else written(value)
