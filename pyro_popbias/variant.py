"""An incomplete variant fails when its class is made, not when it is fitted.

Pyro's modules have a metaclass of their own and cannot be abstract base classes; this mixin does their one job.
"""

from inspect import getattr_static
from typing import Any, ClassVar


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
