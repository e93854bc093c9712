"""An incomplete variant is refused when its class is made, whatever kind of attribute it lacks."""

from typing import ClassVar

import pytest

from pyro_popbias.registry import Variant


class Base(Variant):
    required = ("number", "method", "of_class", "static", "shown")
    number: ClassVar[int]

    def method(self):
        raise NotImplementedError

    @classmethod
    def of_class(cls):
        raise NotImplementedError

    @staticmethod
    def static():
        raise NotImplementedError

    @property
    def shown(self):
        raise NotImplementedError


WHOLE = {
    "number": 1,
    "method": lambda self: 1,
    "of_class": classmethod(lambda cls: 1),
    "static": staticmethod(lambda: 1),
    "shown": property(lambda self: 1),
}


@pytest.mark.parametrize("name", Base.required)
def test_a_class_that_lacks_one_is_refused(name):
    parts = {key: value for key, value in WHOLE.items() if key != name}
    with pytest.raises(TypeError, match=f"^Broken is an incomplete Base: define {name}$"):
        type("Broken", (Base,), parts)


def test_a_whole_class_and_its_children_are_made():
    whole = type("Whole", (Base,), WHOLE)
    assert type("Child", (whole,), {})().of_class() == 1


def test_a_base_in_between_may_leave_some_to_its_classes():
    between = type("Between", (Base,), {"required": ("method", "of_class"), "number": 2})
    with pytest.raises(TypeError, match=r"^Broken is an incomplete Between: define method, of_class$"):
        type("Broken", (between,), {})
