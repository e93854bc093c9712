"""Registries of named classes: they refuse duplicates, and an unknown name brings the nearest known one."""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import entry_points
from typing import Generic, TypeVar

from pyro_popbias.errors import ConfigError, UnknownNameError

T = TypeVar("T")


def nearest(name: str, names: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known name closest to `name`, or a full stop where none is near."""
    known = {each.lower(): each for each in names}
    found = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"; did you mean {known[found[0]]!r}?" if found else "."


class Registry(Mapping[str, type[T]], Generic[T]):
    """A mapping from names to classes, filled by its decorator and by entry points.

    Args:
        kind: what the names are, as messages say it: "guide".
        group: entry point group by which other packages add classes; their names are the entry points' names.
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind = kind
        self._group = group
        self._classes: dict[str, type[T]] = {}
        self._loaded = False

    def register(self, name: str) -> Callable[[type[T]], type[T]]:
        """Return a decorator that files a class under `name`.

        Raises:
            ConfigError: the name is taken by another class.
        """

        def decorate(cls: type[T]) -> type[T]:
            self._add(name, cls)
            return cls

        return decorate

    def _add(self, name: str, cls: type[T]) -> None:
        if name in self._classes:
            both = f"{self._classes[name].__module__} and {cls.__module__}"
            raise ConfigError(f"PB-C001: {self.kind} {name!r} is registered twice, by {both}; give one another name")
        self._classes[name] = cls

    def _load(self) -> None:
        if not self._loaded:
            self._loaded = True
            for point in entry_points(group=self._group):
                self._add(point.name, point.load())

    def __getitem__(self, name: str) -> type[T]:
        self._load()
        if name not in self._classes:
            plural = f"{self.kind}s".capitalize()
            raise UnknownNameError(
                f"PB-C076: unknown {self.kind} {name!r}{nearest(name, self._classes)} {plural}: {', '.join(self._classes)}"
            )
        return self._classes[name]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._classes)

    def __len__(self) -> int:
        self._load()
        return len(self._classes)
