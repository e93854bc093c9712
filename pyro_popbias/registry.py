"""Registries of named classes, and the base of what is filed in them.

Registries refuse duplicates, and an unknown name brings the nearest known one. An incomplete variant fails when its
class is made, not when it is fitted: Pyro's modules have a metaclass of their own and cannot be abstract base classes,
so that the mixin `Variant` does their one job.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from inspect import getattr_static
from typing import Any, ClassVar, Generic, TypeVar

from pyro_popbias.errors import ConfigError, UnknownNameError, shown

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
        base: the class that all classes derive from.
        plural: of the kind, where it is not formed by an s.
    """

    def __init__(self, kind: str, group: str, base: type[T], *, plural: str | None = None) -> None:
        self.kind = kind
        self._plural = (plural or f"{kind}s").capitalize()
        self._group, self._base = group, base
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
        if self._classes.get(name, cls) is not cls:
            both = f"{self._classes[name].__module__} and {cls.__module__}"
            raise ConfigError(f"PB-C001: {self.kind} {name!r} is registered twice, by {both}; give one another name")
        self._classes[name] = cls

    def _load(self) -> None:
        """Add the classes of entry points, at the first look into the registry."""
        if self._loaded:
            return
        self._loaded = True  # before any import: the module of an entry point may look into the registry itself
        try:
            for point in entry_points(group=self._group):
                self._add(point.name, self._class_of(point))
        except ConfigError:
            self._loaded = False  # so that the next look says it again, and does not go on without a class
            raise

    def _class_of(self, point: EntryPoint) -> type[T]:
        source = "" if point.dist is None else f" of {point.dist.name}"
        what = f"entry point {point.name!r} = {point.value!r} in {self._group!r}{source}"
        try:
            cls = point.load()
        except Exception as error:  # whatever another package's import may raise
            raise ConfigError(
                f"PB-C074: {what} cannot be loaded: {type(error).__name__}: {error}; fix or uninstall that package"
            ) from error
        if not (isinstance(cls, type) and issubclass(cls, self._base)):
            raise ConfigError(
                f"PB-C075: {what} is {cls!r}; a {self.kind} is a class that derives from {self._base.__name__}"
            )
        return cls

    def __getitem__(self, name: str) -> type[T]:
        self._load()
        if not isinstance(name, str) or name not in self._classes:
            close = nearest(name, self._classes) if isinstance(name, str) else "."
            raise UnknownNameError(
                f"PB-C076: unknown {self.kind} {shown(name)}{close} {self._plural}: {', '.join(self._classes)}"
            )
        return self._classes[name]

    def name_of(self, given: Any) -> Any:
        """Return the name under which a class is registered; a name, or anything else that is not a class, as it is.

        Raises:
            ConfigError: the class is not registered.
        """
        if not isinstance(given, type):
            return given
        names = [name for name, cls in self.items() if cls is given]
        if not names:
            raise ConfigError(
                f"PB-C300: {self.kind} class {given.__name__} is not registered; register it by the decorator "
                f"@{self._plural.upper()}.register(name), or by an entry point in {self._group!r}"
            )
        return names[0]

    def __iter__(self) -> Iterator[str]:
        self._load()
        return iter(self._classes)

    def __len__(self) -> int:
        self._load()
        return len(self._classes)


class Variant:
    """Mixin for the bases of models, guides, affinities and priors.

    A base lists in `required` what each final class must define.
    """

    required: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "required" in cls.__dict__:  # a base declares; only final classes must deliver
            return
        base = next(parent for parent in cls.__mro__ if "required" in parent.__dict__)
        # static, since a look-up binds a classmethod anew each time, and two bound ones are never the same object
        missing = [name for name in cls.required if getattr_static(cls, name, None) is getattr_static(base, name, None)]
        if missing:
            raise TypeError(f"{cls.__name__} is an incomplete {base.__name__}: define {', '.join(missing)}")
