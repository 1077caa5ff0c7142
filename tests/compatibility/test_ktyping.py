"""What published code asks of `kauldron.ktyping` and `kauldron.typing`."""

from __future__ import annotations

import contextlib
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import ktyping as kt
from kauldron import typing as kd_typing
from kauldron.ktyping import array_type_meta, dtypes


def test_an_array_type_tells_its_shape_spec():
    assert kt.Int["*b n"].shape_spec == "*b n"
    assert kt.Int.shape_spec is None
    assert (kt.Float | kt.UInt8)["h w"].shape_spec == "h w"
    assert kt.PRNGKeyArray["n"].shape_spec == "n"


@pytest.mark.parametrize(
    ("array", "fits"),
    [
        # (class, dtype, shape) of what is looked at.
        (np.zeros((2, 3), np.int32), (True, True, True)),
        (jnp.zeros((2, 3), jnp.uint8), (True, True, True)),
        (np.zeros((2, 3), np.float32), (True, False, True)),
        (np.zeros((2, 2, 3), np.int32), (True, True, False)),
        (jax.ShapeDtypeStruct((2, 3), np.int8), (True, True, True)),
    ],
)
def test_class_dtype_and_shape_can_be_asked_one_by_one(array, fits):
    hint = kt.Int["a b"]
    seen = (
        hint.array_types_match(array),
        hint.dtype_matches(array),
        hint.shape_matches(array),
    )
    assert seen == fits
    assert isinstance(array, hint) == all(fits)


def test_what_is_no_array_matches_no_array_type():
    assert not kt.Int["a"].array_types_match([1, 2])
    assert not kt.TfInt["a"].array_types_match(np.zeros(2, np.int32))
    assert not kt.Int["a"].dtype_matches("text")


def test_a_repeated_name_has_one_size_when_a_shape_is_asked_about():
    assert kt.Float["n n"].shape_matches(np.zeros((3, 3)))
    assert not kt.Float["n n"].shape_matches(np.zeros((3, 4)))


def test_a_scope_can_be_opened_with_given_dims():
    with kt.ShapeScope(candidates=[{"b": (2,)}]):
        assert kt.dim["b"] == 2 and kt.dim["*b"] == (2,)
        assert kt.shape("b 2*b") == (2, 4)
        kt.check_type(np.zeros((2, 5)), kt.Float["b c"])
        assert kt.dim["c"] == 5
        with pytest.raises(kt.KTypeCheckError):
            kt.check_type(np.zeros((3,)), kt.Float["b"])
    with pytest.raises(kt.NoActiveScopeError):
        kt.shape("b")


def test_scopes_nest_and_come_back():
    with kt.ShapeScope(candidates=[{"h": 4, "*b": (2, 3)}]) as outer:
        with kt.ShapeScope() as inner:
            kt.dim["h"] = 7
            assert kt.dim["h"] == 7 and kt.get_current_scope() is inner
        assert kt.dim["h"] == 4 and kt.shape("*b h") == (2, 3, 4)
        assert kt.get_current_scope() is outer


def test_several_candidates_are_ambiguous_until_one_is_left():
    with kt.ShapeScope(candidates=[{"h": 4, "w": 1}, {"h": 5, "w": 2}]):
        with pytest.raises(kt.AmbiguousDimensionError):
            _ = kt.dim["h"]
        kt.check_type(np.zeros(2), kt.Float["w"])
        assert kt.dim["h"] == 5


def test_a_scope_is_closed_after_an_exception():
    with contextlib.suppress(ZeroDivisionError), kt.ShapeScope():
        _ = 1 / 0
    with pytest.raises(kt.NoActiveScopeError):
        kt.shape("b")


@kt.typechecked
def only_floats(x: kt.Float["n"]):
    return x


def test_an_override_has_an_id_by_which_it_is_taken_back():
    off = kt.Config(typechecking_enabled=False)
    first = kt.add_config_override(__name__, off)
    second = kt.add_config_override(__name__, kt.Config())
    assert first != second
    try:
        with pytest.raises(kt.KTypeCheckError):  # the one added last wins
            only_floats(3)
        kt.remove_config_override(second)
        assert only_floats(3) == 3
    finally:
        kt.remove_config_override(first)
    with pytest.raises(kt.KTypeCheckError):
        only_floats(3)
    with pytest.raises(KeyError, match=f"No config override for {first}"):
        kt.remove_config_override(first)


def test_array_specs_have_shapes():
    spec = jax.ShapeDtypeStruct((3, 4), np.float32)
    assert isinstance(spec, kt.ArraySpec["3 4"])
    assert isinstance(spec, kt.ArraySpec["*b n"])
    assert not isinstance(spec, kt.ArraySpec["3 5"])
    assert not isinstance(np.zeros((3, 4)), kt.ArraySpec["3 4"])  # an array is no spec

    @kt.typechecked
    def f(spec: kt.ArraySpec["a b"], x: kt.Float["b"]):
        return x

    f(spec, np.zeros(4))
    with pytest.raises(kt.KTypeCheckError):
        f(spec, np.zeros(3))
    with pytest.raises(kt.ShapeSpecError):
        kt.ArraySpec["a ,"]


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_raw_keys_are_arrays_of_keys(impl):
    key = jax.random.key(0, impl=impl)
    raw = jax.random.key_data(key)
    keys, raws = jax.random.split(key, 4), jax.random.key_data(jax.random.split(key, 4))
    for array in (keys, raws):
        assert isinstance(array, kt.PRNGKeyArray)
        assert isinstance(array, kt.PRNGKeyArray["4"])
        assert not isinstance(array, kt.PRNGKeyArray["3"])
        assert not isinstance(array, kt.PRNGKey)
    for one in (key, raw):
        assert isinstance(one, kt.PRNGKey) and isinstance(one, kt.PRNGKeyArray[""])


@pytest.mark.parametrize(
    "array", [np.zeros((4, 3), np.uint32), np.zeros((4, 2), np.int32), np.uint32(3)]
)
def test_other_numbers_are_no_keys(array):
    assert not isinstance(array, kt.PRNGKeyArray)


def test_the_message_about_raw_keys_counts_keys():
    @kt.typechecked
    def f(keys: kt.PRNGKeyArray["3"]):
        return keys

    with pytest.raises(kt.KTypeCheckError, match="axis -1 is 4, not 3"):
        f(jax.random.split(jax.random.PRNGKey(0), 4))


def test_set_shape_takes_a_single_size():
    @kd_typing.typechecked
    def f():
        kd_typing.set_shape("B", 4)
        kd_typing.set_shape("h w", (5, 6))
        return kd_typing.Shape("B h w")

    assert f() == (4, 5, 6)


@dataclasses.dataclass
class Pair:
    a: kd_typing.Float["T B"]
    b: kd_typing.Float["T"] | None = None
    n: int = 0


@dataclasses.dataclass
class Holder:
    pair: Pair


GOOD = Pair(np.zeros((2, 3)), np.zeros(2))
BAD_RANK = Pair(np.zeros((2, 2, 2)))
BAD_TOGETHER = Pair(np.zeros((2, 3)), np.zeros(3))


@kd_typing.typechecked
def take(x: Pair | None):
    return x


@kd_typing.typechecked
def take_all(x: list[Pair], y: dict[str, Pair], z: Holder | None = None):
    return x


@pytest.mark.parametrize("bad", [BAD_RANK, BAD_TOGETHER])
def test_fields_of_dataclasses_that_nobody_decorated_are_checked(bad):
    take(GOOD)
    take(None)
    take_all([GOOD, GOOD], {"a": GOOD}, Holder(GOOD))
    for call in [
        lambda: take(bad),
        lambda: take_all([GOOD, bad], {}),
        lambda: take_all([], {"a": bad}),
        lambda: take_all([], {}, Holder(bad)),
    ]:
        with pytest.raises(kd_typing.TypeCheckError, match=r"[ab]` of|[ab]` "):
            call()


def test_each_object_has_dims_of_its_own():
    take_all([GOOD, Pair(np.zeros((5, 6)))], {})


def test_the_newer_decorator_takes_such_objects_as_they_are():
    @kt.typechecked
    def f(x: Pair):
        return x

    f(BAD_RANK)
    with kt.Config(fields="arrays"), pytest.raises(kt.KTypeCheckError):
        f(BAD_RANK)


def test_all_fields_are_checked_once_that_is_enabled(monkeypatch):
    wrong_number = Pair(np.zeros((2, 3)), n="three")
    take(wrong_number)
    monkeypatch.setattr(kt.CONFIG, "fields", None)  # to be restored afterwards
    kd_typing.enable_kd_type_checking()
    with pytest.raises(kd_typing.TypeCheckError, match="n`"):
        take(wrong_number)


def test_a_policy_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'decorated', 'arrays', 'all'"):
        kt.typechecked(fields="everything")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: kt.Float32[np.ndarray, "a", dtypes.float64], "f32, which f64 is not"),
        (lambda: kt.Float[np.ndarray, "a", dtypes.integer], "which an integer is not"),
        (lambda: kt.UInt8[np.ndarray, "a", dtypes.integer], "which an integer is not"),
        (
            lambda: array_type_meta.ArrayTypeMeta("N", array_types=(np.ndarray,))[
                jax.Array, "*b"
            ],
            "for ndarray, which",
        ),
        (lambda: kt.Float[np.ndarray, "a", np.float32], "is a set of `ktyping.dtypes`"),
    ],
)
def test_long_forms_that_contradict_the_type_are_refused(make, words):
    with pytest.raises(TypeError, match=words):
        make()


def test_long_forms_that_narrow_the_type_work():
    narrow = kt.Float[np.ndarray, "a", dtypes.float32 | dtypes.float64]
    assert isinstance(np.zeros(3), narrow) and not isinstance(jnp.zeros(3), narrow)
    assert not isinstance(np.zeros(3, np.float16), narrow)
    numpy_only = array_type_meta.ArrayTypeMeta("N", array_types=(np.ndarray,))
    assert isinstance(np.zeros(3), numpy_only[np.ndarray, "a"])
    assert isinstance(np.zeros(3), kt.Array[(np.ndarray, jax.Array), "a"])


NEW_TYPES = {
    "Complex": ["complex64", "complex128"],
    "Complex64": ["complex64"],
    "Complex128": ["complex128"],
    "Float16": ["float16"],
    "Float64": ["float64"],
    "Int8": ["int8"],
    "Int16": ["int16"],
    "IntOrBool": [
        "bool",
        "int8",
        "int16",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
    ],
    "SInt": ["int8", "int16", "int64"],
    "UInt": ["uint8", "uint16", "uint32", "uint64"],
    "UInt16": ["uint16"],
    "UInt32": ["uint32"],
    "UInt64": ["uint64"],
}
EVERY_DTYPE = sorted({d for ds in NEW_TYPES.values() for d in ds} | {"float32"})


@pytest.mark.parametrize("name", NEW_TYPES)
def test_types_of_tensorflow_match_its_tensors_alone(name):
    tensor = type("Tensor", (), {"__module__": "tensorflow.python", "shape": (2,)})
    hint = getattr(kt, f"Tf{name}")
    for dtype in EVERY_DTYPE:
        value = tensor()
        value.dtype = np.dtype(dtype)
        assert isinstance(value, hint["n"]) == (dtype in NEW_TYPES[name])
        assert not isinstance(np.zeros(2, dtype), hint)


@pytest.mark.parametrize(
    "name", ["Int8", "Int16", "UInt16", "UInt64", "Complex64", "Complex128"]
)
def test_types_of_every_library_match_arrays(name):
    hint = getattr(kt, f"X{name}")
    for dtype in EVERY_DTYPE:
        assert isinstance(np.zeros(2, dtype), hint["n"]) == (dtype in NEW_TYPES[name])


def test_published_sets_of_dtypes_hold_what_their_names_say():
    for kind, members in {
        "generic": ["bool", "int8", "float32", "complex64"],
        "number": ["int8", "uint8", "float32", "complex64"],
        "signedinteger": ["int8", "int64"],
        "unsignedinteger": ["uint8", "uint64"],
    }.items():
        dtypes_of_kind = getattr(dtypes, kind)
        for name in [
            "bool",
            "int8",
            "int64",
            "uint8",
            "uint64",
            "float32",
            "complex64",
        ]:
            is_member = name in members or (
                kind in ("generic", "number") and name != "bool"
            )
            assert (np.dtype(name) in dtypes_of_kind) == is_member, (kind, name)


def test_numbers_of_python_are_told_apart_from_dtypes():
    for python_type, like in [
        (bool, dtypes.bool_like),
        (int, dtypes.int_like),
        (float, dtypes.float_like),
        (complex, dtypes.complex_like),
    ]:
        assert python_type in like and python_type in dtypes.scalar_like
        assert np.dtype(python_type) in like
    assert float not in dtypes.floating and float in dtypes.pyfloat
    assert int not in dtypes.float_like
    assert jax.dtypes.float0 in dtypes.float0
    assert jax.dtypes.float0 not in dtypes.floating


def test_sets_of_dtypes_are_values():
    assert (
        dtypes.float32 | dtypes.float32 == dtypes.float32 == dtypes.NpDType(np.float32)
    )
    assert hash(dtypes.float32 | dtypes.int8) == hash(dtypes.int8 | dtypes.float32)
    assert dtypes.floating.includes(dtypes.float32 | dtypes.bfloat16)
    assert not dtypes.floating.includes(dtypes.float32 | dtypes.int8)
    assert isinstance(dtypes.float32 | dtypes.int8, dtypes.CompoundDType)
    assert all(isinstance(d, dtypes.DType) for d in (dtypes.bfloat16, dtypes.pyint))
    assert str(dtypes.pyfloat) == "a Python float"
