"""`@typechecked` on everything it goes on, and the scopes it opens."""

import asyncio
import dataclasses
import functools
import typing
from collections.abc import Generator, Iterator, Sequence

import flax.linen as nn
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import ktyping as kt

A = np.ones((2, 3), np.float32)
B = np.ones((2, 4), np.float32)


@kt.typechecked
def add(x: kt.Float["*b n"], y: kt.Float["*b n"] | None = None) -> kt.Float["*b n"]:
    return x if y is None else x + y


def test_fitting_calls_pass_through():
    np.testing.assert_array_equal(add(A, A), A + A)
    np.testing.assert_array_equal(add(A), A)
    np.testing.assert_array_equal(add(y=A, x=A), A + A)


@pytest.mark.parametrize(
    "args",
    [(A, B), (A, A.astype(int)), (1.0,), ([1.0],), (A, "a"), (np.float32(1),)],
)
def test_calls_that_do_not_fit_raise(args):
    with pytest.raises(kt.KTypeCheckError):
        add(*args)
    assert issubclass(kt.KTypeCheckError, TypeError)


def test_a_wrong_call_raises_what_python_raises():
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        add()
    with pytest.raises(TypeError, match="unexpected keyword argument 'z'"):
        add(A, z=1)


def test_the_result_is_checked():
    @kt.typechecked
    def transpose(x: kt.Float["a b"]) -> kt.Float["a b"]:
        return x.T

    with pytest.raises(kt.KTypeCheckError, match=r"The return value of `.*transpose`"):
        transpose(A)


def test_the_wrapper_keeps_name_doc_and_signature():
    import inspect

    @kt.typechecked
    def f(x: int, *, y: int = 2) -> int:
        """Doc."""
        return x

    assert f.__name__ == "f" and f.__doc__ == "Doc."
    assert list(inspect.signature(f).parameters) == ["x", "y"]


def test_one_call_can_opt_out():
    assert add(A, A, _typecheck=False) is not None
    assert add(1, 2, _typecheck=False) == 3


def test_every_call_has_dims_of_its_own():
    @kt.typechecked
    def outer(x: kt.Float["n"]) -> kt.Float["n"]:
        add(A)
        assert kt.dim["n"] == 5
        return x

    outer(np.ones(5))


@pytest.mark.parametrize(
    "value", [A, jnp.ones((2, 3)), jax.ShapeDtypeStruct((2, 3), "f4")]
)
def test_arrays_of_numpy_jax_and_abstract_ones_are_checked(value):
    @kt.typechecked
    def rows(x: kt.Float["r c"]) -> int:
        return kt.dim["r"]

    assert rows(value) == 2


def test_tracers_are_checked_while_tracing_and_cost_nothing_after():
    calls = []

    @jax.jit
    @kt.typechecked
    def f(x: kt.Float["n"], y: kt.Float["n"]) -> kt.Float["n"]:
        calls.append(kt.shape("n"))
        return x + y

    f(jnp.ones(3), jnp.ones(3))
    f(jnp.ones(3), jnp.ones(3))
    assert calls == [(3,)]
    with pytest.raises(kt.KTypeCheckError):
        f(jnp.ones(3), jnp.ones(1))
    jax.grad(lambda x: f(x, x).sum())(jnp.ones(3))
    seen = jax.vmap(f)(jnp.ones((2, 3)), jnp.ones((2, 3)))
    assert seen.shape == (2, 3)


def test_star_arguments_are_checked_each():
    @kt.typechecked
    def stack(*xs: kt.Float["n"], **named: kt.Float["n"]) -> kt.Float["k n"]:
        return np.stack([*xs, *named.values()])

    assert stack(np.ones(3), np.ones(3), a=np.ones(3)).shape == (3, 3)
    with pytest.raises(kt.KTypeCheckError, match=r"`\*xs\[1\]`"):
        stack(np.ones(3), np.ones(4))
    with pytest.raises(kt.KTypeCheckError, match=r"`\*\*named\['a'\]`"):
        stack(np.ones(3), a=np.ones(4))


class Layer:
    width = 3

    @kt.typechecked
    def method(self, x: kt.Float["n {self.width}"]) -> kt.Float["n"]:
        return x[:, 0]

    @kt.typechecked
    @classmethod
    def outer_class(cls, x: kt.Float["n"]) -> kt.Float["n"]:
        return x

    @classmethod
    @kt.typechecked
    def inner_class(cls, x: kt.Float["n"]) -> kt.Float["n"]:
        return x

    @kt.typechecked
    @staticmethod
    def outer_static(x: kt.Float["n"]) -> kt.Float["n"]:
        return x

    @staticmethod
    @kt.typechecked
    def inner_static(x: kt.Float["n"]) -> kt.Float["n"]:
        return x

    @kt.typechecked
    @property
    def size(self) -> kt.Float["3"]:
        return np.ones(self.width)

    @size.setter
    @kt.typechecked
    def size(self, value: kt.Float["3"]) -> None:
        self.width = len(value)

    @kt.typechecked
    @functools.cached_property
    def cached(self) -> kt.Float["3"]:
        return np.ones(self.width)


@pytest.mark.parametrize(
    "name", ["outer_class", "inner_class", "outer_static", "inner_static"]
)
def test_class_and_static_methods(name):
    assert getattr(Layer(), name)(np.ones(2)).shape == (2,)
    with pytest.raises(kt.KTypeCheckError):
        getattr(Layer, name)(A)


def test_methods_and_properties():
    layer = Layer()
    assert layer.method(A).shape == (2,)
    with pytest.raises(kt.KTypeCheckError, match="axis -1 is 4, not 3"):
        layer.method(B)
    assert layer.size.shape == (3,)
    with pytest.raises(kt.KTypeCheckError):
        layer.size = np.ones(2)
    layer.width = 5
    with pytest.raises(kt.KTypeCheckError, match="of property 'size' does not fit"):
        layer.size  # noqa: B018
    with pytest.raises(kt.KTypeCheckError, match="property 'cached'"):
        layer.cached  # noqa: B018


def test_flax_modules():
    class Net(nn.Module):
        @nn.compact
        @kt.typechecked
        def __call__(self, x: kt.Float["b d"]) -> kt.Float["b 5"]:
            return nn.Dense(5)(x)

    out, _ = Net().init_with_output(jax.random.key(0), A)
    assert out.shape == (2, 5)
    with pytest.raises(kt.KTypeCheckError):
        Net().init(jax.random.key(0), A[0])


def test_generators_check_arguments_items_and_result():
    @kt.typechecked
    def rows(x: kt.Float["r c"]) -> Generator[kt.Float["c"], int, kt.Float["r"]]:
        received = yield x[0]
        assert kt.dim["c"] == 3
        assert received == 7
        yield x[1]
        return x[:, 0]

    generator = rows(A)
    assert next(generator).shape == (3,)
    assert generator.send(7).shape == (3,)
    with pytest.raises(StopIteration) as info:
        next(generator)
    assert info.value.value.shape == (2,)
    with pytest.raises(kt.KTypeCheckError):
        rows(A[0])  # at the call, not at the first item

    @kt.typechecked
    def bad(x: kt.Float["r c"]) -> Iterator[kt.Float["c"]]:
        yield x

    with pytest.raises(kt.KTypeCheckError, match="yielded value"):
        next(bad(A))


def test_generators_do_not_leak_their_scope():
    @kt.typechecked
    def inner(x: kt.Float["n"]) -> Iterator[int]:
        yield kt.dim["n"]
        yield kt.dim["n"]

    @kt.typechecked
    def outer(x: kt.Float["n"]) -> list[int]:
        seen = []
        for size in inner(np.ones(7)):
            seen += [size, kt.dim["n"]]
        return seen

    assert outer(np.ones(2)) == [7, 2, 7, 2]


def test_generators_pass_on_exceptions():
    closed = []

    @kt.typechecked
    def gen() -> Iterator[int]:
        try:
            yield 1
        except ValueError:
            yield 2
        finally:
            closed.append(True)

    generator = gen()
    next(generator)
    assert generator.throw(ValueError()) == 2
    generator.close()
    assert closed == [True]


def test_coroutines():
    @kt.typechecked
    async def f(x: kt.Float["n"]) -> kt.Float["n"]:
        await asyncio.sleep(0)
        assert kt.dim["n"] == len(x)
        return x

    async def both():
        return await asyncio.gather(f(np.ones(2)), f(np.ones(3)))

    assert [len(x) for x in asyncio.run(both())] == [2, 3]
    with pytest.raises(kt.KTypeCheckError):
        asyncio.run(f(A))


def test_annotations_may_name_what_is_defined_later():
    namespace: dict = {"kt": kt, "Iterator": Iterator}
    exec(
        "from __future__ import annotations\n"
        "@kt.typechecked\n"
        "def f(x: Later) -> Later: return x\n"
        "@kt.typechecked\n"
        "def g(x: Later) -> Iterator[Later]: yield 3\n"
        "class Later: pass\n",
        namespace,
    )
    namespace["f"](namespace["Later"]())
    with pytest.raises(kt.KTypeCheckError):
        namespace["f"](3)
    with pytest.raises(kt.KTypeCheckError, match="yielded value"):
        next(namespace["g"](namespace["Later"]()))


def test_jitted_functions_can_be_decorated():
    @kt.typechecked
    @jax.jit
    def f(x: kt.Float["n"]) -> kt.Float["n"]:
        return x + 1

    assert f(jnp.ones(3)).shape == (3,)
    with pytest.raises(kt.KTypeCheckError):
        f(A)


def test_threads_do_not_share_scopes():
    from concurrent import futures

    @kt.typechecked
    def f(x: kt.Float["n"]) -> int:
        return sum(kt.dim["n"] for _ in range(200)) // 200

    sizes = list(range(1, 40))
    with futures.ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda n: f(np.ones(n)), sizes)) == sizes


# Dataclasses.


@kt.typechecked
@dataclasses.dataclass
class Batch:
    image: kt.Float["b h w"]
    label: kt.Int["b"]
    name: str = ""
    scale: float = 1


def test_dataclass_fields_are_checked_together():
    Batch(np.ones((2, 3, 3)), np.ones(2, int))
    with pytest.raises(kt.KTypeCheckError, match="does not fit") as info:
        Batch(np.ones((2, 3, 3)), np.ones(3, int))
    assert "b=2 (from `image`)" in str(info.value)
    with pytest.raises(kt.KTypeCheckError, match="3 is not str"):
        Batch(np.ones((2, 3, 3)), np.ones(2, int), 3)


def test_dataclass_checks_run_after_post_init():
    @kt.typechecked
    @dataclasses.dataclass
    class Cast:
        x: kt.Float["n"]

        def __post_init__(self):
            self.x = np.asarray(self.x, np.float32)

    assert Cast([1, 2]).x.shape == (2,)


def test_subclasses_are_checked_only_if_decorated():
    @dataclasses.dataclass
    class Loose(Batch):
        label: str = ""

    Loose(np.ones((2, 3, 3)), "not checked")


def test_dataclass_arguments_are_checked_in_a_scope_of_their_own():
    @kt.typechecked
    def f(batch: Batch, x: kt.Float["b"]) -> kt.Float["b"]:
        return x

    batch = Batch(np.ones((2, 3, 3)), np.ones(2, int))
    f(batch, np.ones(7))
    with pytest.raises(kt.KTypeCheckError, match="3 is not Batch"):
        f(3, np.ones(7))
    batch.label = np.ones(3, int)
    with pytest.raises(kt.KTypeCheckError, match=r"`batch\.label`"):
        f(batch, np.ones(7))


def test_dataclasses_with_dims_from_their_own_fields():
    @kt.typechecked
    @dataclasses.dataclass
    class Sized:
        n: int
        x: kt.Float["{n}"]
        y: kt.Float["{self.n}"]

    Sized(2, np.ones(2), np.ones(2))
    with pytest.raises(kt.KTypeCheckError, match="axis -1 is 3, not 2"):
        Sized(2, np.ones(2), np.ones(3))


def test_pytree_dataclasses_can_be_rebuilt_with_anything():
    @kt.typechecked
    @flax.struct.dataclass
    class State:
        x: kt.Float["n"]

    state = State(x=jnp.ones(3))
    assert jax.tree.map(lambda x: None, state) is not None
    stacked = jax.tree.map(lambda x: jnp.stack([x, x]), state)
    assert jax.vmap(lambda s: s.x.sum())(stacked).shape == (2,)
    with pytest.raises(kt.KTypeCheckError):
        State(x=3)


def test_other_classes_are_refused():
    with pytest.raises(TypeError, match=r"Plain is none\. Decorate its methods"):

        @kt.typechecked
        class Plain:
            pass

    with pytest.raises(TypeError, match="goes on functions"):
        kt.typechecked(3)


# Scopes.


def test_a_with_block_is_a_scope():
    with kt.typechecked():
        kt.check_type(A, kt.Float["b n"])
        assert kt.shape("n b") == (3, 2)
        with pytest.raises(kt.KTypeCheckError):
            kt.check_type(B, kt.Float["b n"])
    with pytest.raises(kt.NoActiveScopeError):
        kt.shape("n")


def test_transparent_functions_share_the_dims_of_the_caller():
    @kt.typechecked(new_scope=False)
    def inner(x: kt.Float["m n"]) -> int:
        return kt.dim["b"]

    @kt.typechecked
    def outer(x: kt.Float["b n"], y: kt.Float["m2 n2"]) -> int:
        result = inner(y)
        assert kt.dim["m"] == len(y)
        return result

    assert outer(A, np.ones((7, 3))) == 2
    with pytest.raises(kt.KTypeCheckError, match=r"`x` of `.*inner`"):
        outer(A, np.ones((7, 5)))


def test_check_type_needs_the_caller_to_own_the_scope():
    def helper(x, nested_ok):
        return kt.check_type(x, kt.Float["n"], nested_ok=nested_ok)

    @kt.typechecked
    def f(x: kt.Float["n"], nested_ok: bool) -> kt.Float["n"]:
        [kt.check_type(x, kt.Float["n"]) for _ in range(2)]
        return helper(x, nested_ok)

    f(np.ones(3), True)
    with pytest.raises(kt.NoActiveScopeError, match="nested_ok=True"):
        f(np.ones(3), False)
    with pytest.raises(kt.NoActiveScopeError, match="There is no scope"):
        kt.check_type(A, kt.Float["a b"])


def test_unions_are_decided_later():
    @kt.typechecked
    def f(
        x: kt.Float["a b"] | kt.Float["b a"], y: kt.Float["a"], z: kt.Float["b"]
    ) -> None: ...

    f(A, np.ones(2), np.ones(3))
    f(A, np.ones(3), np.ones(2))
    with pytest.raises(kt.KTypeCheckError):
        f(A, np.ones(2), np.ones(2))


def test_several_variadic_dims_are_decided_later():
    @kt.typechecked
    def f(x: kt.Float["*a *b"], y: kt.Float["*b"]) -> kt.Float["*a"]:
        return x.reshape((*kt.shape("*a"), -1))[..., 0]

    assert f(np.ones((2, 3, 4)), np.ones((3, 4))).shape == (2,)
    assert f(np.ones((2, 3, 4)), np.ones(4)).shape == (2, 3)


def test_expressions_that_nothing_determines_are_reported():
    @kt.typechecked
    def f(x: kt.Float["h*hh"]) -> None: ...

    with pytest.raises(kt.KTypeCheckError, match="no array tells what 'h', 'hh' is"):
        f(np.ones(6))

    @kt.typechecked
    def unbraced(x: kt.Float["heads*d"], heads: int) -> None: ...

    with pytest.raises(kt.KTypeCheckError, match=r"argument `heads`, write \{heads\}"):
        unbraced(np.ones(6), 2)

    @kt.typechecked
    def later(x: kt.Float["a*b"]) -> kt.Float["a b"]:
        return x.reshape(2, 3)

    later(np.ones(6))


def test_local_names_in_string_annotations():
    namespace: dict = {}
    source = (
        "from __future__ import annotations\n"
        "def make(kt, Local):\n"
        "  @kt.typechecked\n"
        "  def f(x: kt.Float['n'], y: Local | None, z: Missing = 3) -> kt.Float['n']:\n"
        "    return x\n"
        "  return f\n"
    )
    exec(source, namespace)
    f = namespace["make"](kt, str)
    f(np.ones(3), "a")
    f(np.ones(3), None, 4)
    with pytest.raises(kt.KTypeCheckError):
        f(A, None)


# Containers, trees, plain hints.


class Example(typing.TypedDict):
    x: kt.Float["n"]
    y: typing.NotRequired[kt.Float["n"]]


@pytest.mark.parametrize(
    "hint, good, bad",
    [
        (int, 3, 3.0),
        (float, 3, "3"),
        (complex, 3.0, "3"),
        (str | None, None, 3),
        (typing.Optional[str], "a", 3),  # noqa: UP045
        (bool, True, 1),
        (typing.Literal["a", "b"], "a", "c"),
        (list[int], [1, 2], ["a"]),
        (typing.List[int], [1], ["a"]),  # noqa: UP006
        (Sequence[str], ("a",), (1,)),
        (typing.Callable[[int], int], len, 3),
        (type[int], bool, str),
        (list[kt.Float["n"]], [np.ones(3)] * 2, [np.ones(3), np.ones(4)]),
        (tuple[kt.Float["n"], ...], (np.ones(3),) * 2, [np.ones(3)]),
        (tuple[kt.Float["n"], kt.Int["n"]], (np.ones(2), np.ones(2, int)), (np.ones(2),)),
        (dict[str, kt.Float["n"]], {"a": np.ones(3)}, {"a": np.ones(3), "b": np.ones(4)}),
        (set[int], {1}, {"a"}),
        (Example, {"x": np.ones(2)}, {"x": np.ones(2), "y": np.ones(3)}),
        (Example, {"x": np.ones(2), "y": np.ones(2)}, {"y": np.ones(2)}),
        (Example, {"x": np.ones(2)}, {"x": np.ones(2), "z": 1}),
        (kt.PyTree[int], {"a": [1]}, {"a": 1.0}),
        (kt.PyTree[kt.Float["n"]], {"a": [A[0]], "b": A[0]}, [A[0], B[0]]),
        (kt.PyTree[str | None], {"a": None}, 3),
        (kt.Scalar, 3.0, A),
        (kt.ScalarFloat, np.float32(3), "a"),
        (kt.ScalarInt, jnp.zeros((), int), 1.5),
        (kt.PRNGKey, jax.random.key(0), 3),
        (kt.PRNGKey, jax.random.PRNGKey(0), A),
        (kt.PRNGKeyLike, 3, 3.5),
        (kt.PRNGKeyArray, jax.random.key(0), np.zeros(3, np.uint32)),
        (kt.Shape, (1, 2), (1, 2.5)),
        (kt.Shape["a a"], (2, 2), (2, 3)),
        (kt.DType, np.float32, 3),
        (kt.DType, "int8", "no dtype"),
        (kt.DType, jnp.bfloat16, None),
        (kt.ArraySpec, jax.ShapeDtypeStruct((2,), int), A),
        (kt.ElementSpec, {"x": jax.ShapeDtypeStruct((2,), int)}, {"x": A}),
        (kt.Axes, (0, 1), "a"),
        (kt.Array[np.ndarray, "a b"], A, jnp.ones((2, 3))),
        (kt.Array[(np.ndarray, jax.Array), "a b"], jnp.ones((2, 3)), jnp.ones(3)),
        (kt.Array[np.ndarray, "a", kt.dtypes.uint8], np.ones(2, np.uint8), np.ones(2)),
        ((kt.Float | kt.UInt8)["h w 3|4"], np.ones((2, 2, 4), np.uint8), np.ones((2, 2, 2))),
        (typing.Annotated[kt.Float["n"], "meta"], np.ones(2), 3),
        (typing.TypeVar("T", bound=kt.Float["n"]), np.ones(2), 3),
    ],
)  # fmt: skip
def test_hints(hint, good, bad):
    @kt.typechecked
    def f(x: hint):
        return x

    f(good)
    with pytest.raises(kt.KTypeCheckError):
        f(bad)


@pytest.mark.parametrize(
    "array_type, dtypes",
    [
        (kt.Float, ["float16", "float32", "float64", "bfloat16", "float8_e4m3fn"]),
        (kt.Int, ["int8", "int64", "uint8", "uint32", "int4"]),
        (kt.SInt, ["int8", "int64", "int4"]),
        (kt.UInt, ["uint8", "uint64"]),
        (kt.UInt8, ["uint8"]),
        (kt.BFloat16, ["bfloat16"]),
        (kt.Bool, ["bool"]),
        (kt.IntOrBool, ["bool", "int8", "uint8"]),
        (kt.Complex, ["complex64", "complex128"]),
        (kt.Num, ["float32", "int8", "uint8", "complex64"]),
    ],
)
def test_dtypes(array_type, dtypes):
    every = [
        *("bool", "int4", "int8", "int64", "uint8", "uint32", "uint64"),
        *("float16", "float32", "float64", "bfloat16", "float8_e4m3fn"),
        *("complex64", "complex128", "object"),
    ]
    for name in {*every, *dtypes}:
        dtype = object if name == "object" else jnp.dtype(name)
        fits = isinstance(np.zeros(2, dtype), array_type["n"])
        if array_type is kt.Num:
            assert fits == (name not in ("bool", "object")), name
        else:
            expected = name in dtypes or (array_type is kt.Int and "int" in name)
            expected |= array_type is kt.UInt and name.startswith("uint")
            expected |= array_type is kt.IntOrBool and "int" in name
            assert fits == expected, name


def test_named_tree_structures_must_agree():
    @kt.typechecked
    def f(x: kt.PyTree[kt.Float["..."], "$S"], y: kt.PyTree[kt.Float["..."], "$S"]):
        return x

    f({"a": A}, {"a": B})
    with pytest.raises(kt.KTypeCheckError, match=r"its structure is .* but \$S is"):
        f({"a": A}, {"b": A})
    with pytest.raises(TypeError, match="name of the structure"):
        kt.PyTree[int, "S"]


def test_foreign_tensors_are_told_apart_by_module_name():
    module = type(
        "Tensor", (), {"__module__": "torch", "shape": (2, 3), "dtype": "torch.float32"}
    )
    assert isinstance(module(), kt.XFloat["a b"])
    assert not isinstance(module(), kt.XInt["a b"])
    assert not isinstance(module(), kt.Float["a b"])
    assert isinstance(A, kt.XFloat["a b"])


def test_symbolic_shapes_of_jax_export():
    from jax import export

    (b,) = export.symbolic_shape("b")
    spec = jax.ShapeDtypeStruct((b, 3), jnp.float32)
    exported = export.export(jax.jit(lambda x: add(x, x)))(spec)
    assert exported.out_avals[0].shape[1] == 3


def test_user_defined_array_types():
    from kauldron.ktyping import array_type_meta, dtypes

    pixels = array_type_meta.ArrayTypeMeta(
        "Pixels", array_types=np.ndarray, dtype=dtypes.uint8 | dtypes.floating
    )
    assert array_type_meta.is_array_type(pixels["h w"])
    assert repr(pixels["h w"]) == "Pixels['h w']"
    assert isinstance(A, pixels["h w"]) and not isinstance(jnp.ones((2, 3)), pixels)


def test_annotations_are_values():
    import copy
    import pickle

    assert kt.Float["a b"] is kt.Float["a b"]
    assert pickle.loads(pickle.dumps(kt.Float["a b"])) is kt.Float["a b"]
    assert copy.deepcopy(kt.Float["a b"]) is kt.Float["a b"]
    assert kt.is_array_type(kt.Float) and not kt.is_array_type(int)
    assert repr((kt.Float | kt.UInt8)["h w"]) == "(Float | UInt8)['h w']"
