"""The older module, over the same checker."""

import numpy as np
import pytest

from kauldron import ktyping as kt
from kauldron import typing as kd_typing
from kauldron.typing import Dim, Float, Int, Shape, check_type, typechecked

A = np.ones((2, 3, 4))


def test_it_is_the_same_checker():
    assert kd_typing.Float is kt.Float
    assert kd_typing.TypeCheckError is kt.KTypeCheckError


def test_its_int_is_signed():
    assert isinstance(np.int8(1), Int) and not isinstance(np.uint8(1), Int)
    assert isinstance(np.uint8(1), kd_typing.Integer)


def test_shapes_and_dims_are_functions():
    @typechecked
    def f(x: Float["*b h w"]) -> None:
        assert Shape("*b h w/2 1") == (2, 3, 2, 1)
        assert Dim("h") == 3
        kd_typing.set_shape("k l", (7, 8))
        assert Dim("l") == 8
        with pytest.raises(kd_typing.ShapeError):
            Dim("z")
        with pytest.raises(kd_typing.ShapeError, match="'h' cannot be"):
            kd_typing.set_shape("h", (4,))

    f(A)
    with pytest.raises(kt.NoActiveScopeError):
        Shape("h")


def test_check_type_binds_inside_and_needs_no_scope_outside():
    assert check_type(A, Float["a b c"]) is A
    with pytest.raises(kd_typing.TypeCheckError):
        check_type(A, Float["a a c"])

    @typechecked
    def f(x: Float["n"]) -> None:
        check_type(A, Float["a b c"])
        assert Dim("b") == 3
        with pytest.raises(kd_typing.TypeCheckError):
            check_type(np.ones(len(x) + 1), Float["n"])

    f(np.ones(5))


def test_shape_is_also_an_annotation():
    @typechecked
    def f(shape: Shape, dtype: kd_typing.DType = np.float32) -> Shape["n n"]:
        return shape

    f((3, 3))
    for bad in [(3, 4), (3, "a"), 3]:
        with pytest.raises(kd_typing.TypeCheckError):
            f(bad)


@pytest.mark.parametrize("name", kd_typing.__all__)
def test_every_name_exists(name):
    assert getattr(kd_typing, name) is not None


@pytest.mark.parametrize("name", kt.__all__)
def test_every_ktyping_name_exists(name):
    assert getattr(kt, name) is not None
