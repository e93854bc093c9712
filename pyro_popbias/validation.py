"""How values are checked: single arguments, and the sections of a study, whose keys have a type, a range and a default."""

from collections.abc import Mapping
from numbers import Integral
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from pyro_popbias.errors import ConfigError, shown
from pyro_popbias.registry import Registry, nearest

LARGEST_SEED = 2**63 - 2  # groups of draws take the seed after it
Positive = Annotated[float, Field(strict=True, ge=1e-6, le=1e6, allow_inf_nan=False)]
Learnable = Positive | Literal["learned"]
Flag = Annotated[bool, Field(strict=True)]  # "yes", 1 and "on" are no truth values


def require_integer(name: str, value: Any, minimum: int, maximum: int | None = None, *, code: str = "PB-C084") -> int:
    """Return an integer argument as an int; NumPy integers are accepted, booleans are not.

    Args:
        name: name of the argument.
        value: the value that was given.
        minimum: smallest value allowed.
        maximum: largest value allowed; None for no upper bound.
        code: error code of the message.

    Raises:
        ConfigError: the value is not an integer, or out of range.
    """
    if isinstance(value, Integral) and not isinstance(value, bool):
        number = int(value)
        if number >= minimum and (maximum is None or number <= maximum):
            return number
    bounds = f">= {minimum}" if maximum is None else f"from {minimum} to {maximum}"
    raise ConfigError(f"{code}: {name} must be an integer {bounds}, not {shown(value)}")


def require_seed(seed: Any) -> int:
    """Return a seed: an integer that every generator takes.

    Raises:
        ConfigError: it is not one.
    """
    number = require_integer("seed", seed, 0)
    return require_integer("seed", number, 0, LARGEST_SEED)


class Section(BaseModel):
    """Base of sections: unknown keys are refused, values do not change, and numpy's scalars count as Python's own."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        keys = [info.alias or name for name, info in cls.model_fields.items()]
        for key in given:
            if key not in keys:
                message = f"unknown key {shown(str(key))}{nearest(str(key), keys)} Keys: {', '.join(keys)}"
                raise PydanticCustomError("unknown_key", "{message}", {"message": message})
        return {key: value.item() if isinstance(value, np.generic) else value for key, value in given.items()}

    def given(self) -> dict[str, Any]:
        """Return the values that were given, by key; those left at their defaults are not among them."""
        fields = type(self).model_fields
        return {fields[name].alias or name: getattr(self, name) for name in fields if name in self.model_fields_set}

    def changed(self) -> dict[str, Any]:
        """Return the values that differ from the defaults, by key; those of a part with its name."""
        found: dict[str, Any] = {}
        for name, info in type(self).model_fields.items():
            value, default = getattr(self, name), info.get_default(call_default_factory=True)
            if isinstance(value, Section):
                changed = value.changed()
                if isinstance(value, PartConfig) and (changed or value.name != getattr(default, "name", None)):
                    changed = {"name": value.name} | changed
                differs, value = bool(changed), changed
            elif isinstance(value, str | int | float | None):
                differs = not info.is_required() and value != default
            else:  # a table, which has no truth value of a comparison
                differs = value is not default
            if differs:
                found[info.alias or name] = value
        return found

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{key}={written(value)}' for key, value in self.changed().items())})"

    def __str__(self) -> str:
        return repr(self)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with some keys replaced, checked like a new section."""
        return type(self)(**(self.given() | dict(update))) if update else super().model_copy(deep=deep)


class PartConfig(Section):
    """Base of the sections of registered parts: the keys of a part, beside its name. Every key needs a default.

    Attributes:
        name: under which the part is registered.
    """

    name: str


def written(value: Any) -> str:
    """Return a value as one writes it in Python; a table by its size."""
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{key!r}: {written(each)}' for key, each in value.items())}}}"
    size = getattr(value, "shape", ())
    return f"<{'x'.join(map(str, size))} {type(value).__name__}>" if size else repr(value)


def part_config(registry: Registry[Any], given: Any) -> Any:
    """Return the section of a part, as the class that its name stands for declares it.

    Args:
        registry: of the parts of its kind; their classes have an attribute `config`.
        given: a mapping with a name, or a section; anything else is returned as it is.

    Raises:
        UnknownNameError: no part has such a name.
        ValueError: there is no name, or a key or value is wrong.
    """
    if isinstance(given, PartConfig):
        return given if type(given) is registry[given.name].config else part_config(registry, given.given())
    if not isinstance(given, Mapping):
        return given
    if "name" not in given:
        raise PydanticCustomError("no_name", "no name")
    name = registry.name_of(given["name"])
    return registry[name].config.model_validate({**given, "name": name})
