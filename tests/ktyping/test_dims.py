"""`dim`, `shape`, `isinstance`, and what they say when they cannot."""

import numpy as np
import pytest

from kauldron import ktyping as kt

A = np.ones((2, 3), np.float32)


@pytest.fixture
def scope():
    with kt.typechecked() as scope:
        kt.get_current_scope().candidates = [{"*b": (8, 2), "h": 32, "c": 3}]
        scope.code = None  # tests are other functions than the one with the block
        yield scope


def test_dims_can_be_read(scope):
    assert kt.dim["h"] == 32
    assert kt.dim["*b"] == kt.dim["+b"] == (8, 2)
    assert "h" in kt.dim and "*b" in kt.dim and "z" not in kt.dim
    assert repr(kt.dim) == "kt.dim(*b=(8, 2), h=32, c=3)"


def test_new_dims_can_be_set(scope):
    kt.dim["new"] = 5
    kt.dim["*many"] = [1, 2]
    kt.dim["+some"] = (1,)
    assert kt.shape("new *many +some") == (5, 1, 2, 1)
    with pytest.raises(ValueError, match="known already"):
        kt.dim["h"] = 32
    with pytest.raises(TypeError, match="is an int: got 'a'"):
        kt.dim["z"] = "a"
    with pytest.raises(TypeError, match="a tuple of ints: got 3"):
        kt.dim["*z"] = 3
    with pytest.raises(TypeError, match="one or more ints"):
        kt.dim["+z"] = ()
    with pytest.raises(TypeError, match="cannot be forgotten"):
        del kt.dim["h"]


def test_setting_a_dim_decides_what_was_open(scope):
    kt.check_type(np.ones(6), kt.Float["p*q"], nested_ok=True)
    kt.dim["p"] = 2
    assert kt.dim["q"] == 3


def test_unknown_dims_name_the_nearest(scope):
    with pytest.raises(KeyError, match=r"'hh' is unknown\. Did you mean 'h'\?"):
        kt.dim["hh"]
    with pytest.raises(KeyError, match=r"'b' is unknown\. Did you mean '\*b'\?"):
        kt.dim["b"]
    with pytest.raises(ValueError, match="Not the name of a dim"):
        kt.dim["h w"]


def test_ambiguous_dims_say_between_what():
    @kt.typechecked
    def f(x: kt.Float["a b"] | kt.Float["b a"]) -> None:
        with pytest.raises(kt.AmbiguousDimensionError, match="2 or 3"):
            kt.dim["a"]
        with pytest.raises(kt.ShapeError, match="ambiguous"):
            kt.shape("a 1")
        assert issubclass(kt.AmbiguousDimensionError, KeyError)
        assert kt.shape("a+b") == (5,)

    f(A)


@pytest.mark.parametrize(
    "spec, shape",
    [
        ("*b h c", (8, 2, 32, 3)),
        ("h/2 h//3 h%5 -(-h) 2*h+1", (16, 10, 2, 32, 65)),
        ("prod(*b) min(h,c) max(*b,c)", (16, 3, 8)),
        ("{1 + 1} 7", (2, 7)),
        ("", ()),
    ],
)
def test_shapes_are_made_of_known_dims(scope, spec, shape):
    assert kt.shape(spec) == shape


@pytest.mark.parametrize(
    "spec, words",
    [
        ("h z", "a dim in it is unknown"),
        ("h/3", "a dim in it is unknown"),
        ("...", "no particular size"),
        ("_ h", "'_' in '_ h' stands for no particular size"),
        ("#h", "no particular size"),
        ("h?", "no particular size"),
        ("3|4", "no particular size"),
    ],
)
def test_shapes_that_cannot_be_told(scope, spec, words):
    with pytest.raises(kt.ShapeError, match=words) as info:
        kt.shape(spec)
    assert isinstance(info.value, ValueError)


def test_broadcast_dims_are_the_shape_everything_broadcasts_to():
    @kt.typechecked
    def add(x: kt.Float["*#b c"], y: kt.Float["*#b c"]) -> kt.Float["*b c"]:
        assert kt.shape("*b") == np.broadcast_shapes(x.shape[:-1], y.shape[:-1])
        return x + y

    add(np.ones((5, 1, 3)), np.ones((4, 3)))
    with pytest.raises(kt.KTypeCheckError, match="cannot be broadcast with"):
        add(np.ones((5, 2, 3)), np.ones((4, 3)))


def test_isinstance_knows_the_dims_but_binds_none():
    @kt.typechecked
    def f(x: kt.Float["n m"]) -> None:
        assert kt.isinstance(np.ones(2), kt.Float["n"])
        assert not kt.isinstance(np.ones(7), kt.Float["n"])
        assert kt.isinstance(np.ones(7), (kt.Float["n"], kt.Float["k"]))
        assert "k" not in kt.dim
        assert kt.isinstance([np.ones(2), "other"], list[kt.Float["n"]])
        assert not kt.isinstance([np.ones(3)], list[kt.Float["n"]])

    f(A)
    assert kt.isinstance([1], list[int]) and not kt.isinstance(["a"], list[int])
    with pytest.raises(kt.NoActiveScopeError):
        kt.isinstance(A, kt.Float["n m"])


def test_builtin_isinstance_needs_no_scope():
    assert isinstance(A, kt.Float) and isinstance(A, kt.Float["a b"])
    assert not isinstance(A, kt.Float["a a"]) and not isinstance(A, kt.Int)
    assert isinstance(None, kt.Float["a"] | None)

    @kt.typechecked
    def f(x: kt.Float["n m"]) -> None:
        assert isinstance(np.ones(7), kt.Float["n"])

    f(A)
    with pytest.raises(kt.NoActiveScopeError, match="arguments of a call"):
        isinstance(A, kt.Float["{n} m"])


def test_python_in_braces_that_fails_says_so():
    @kt.typechecked
    def f(x: kt.Float["{missing}"]) -> None: ...

    with pytest.raises(
        ValueError, match=r"Could not evaluate \{missing\}.*arguments: x"
    ):
        f(np.ones(3))


def test_braces_may_stand_for_several_axes():
    @kt.typechecked
    def f(x: kt.Float["b {shape} {kind}"], shape: tuple, kind: str = "h h") -> None: ...

    f(np.ones((1, 2, 3, 4, 4)), (2, 3))
    f(np.ones((1, 2, 3, 5)), (2, 3), "5")
    with pytest.raises(kt.KTypeCheckError):
        f(np.ones((1, 2, 3, 4, 5)), (2, 3))


# Configuration.


@kt.typechecked
def only_ints(x: int) -> int:
    return x


def test_checks_can_be_switched_off_for_a_block():
    with kt.Config(typechecking_enabled=False):
        assert only_ints("a") == "a"
        with kt.Config(), pytest.raises(kt.KTypeCheckError):
            only_ints("a")
        assert only_ints("a") == "a"
    with pytest.raises(kt.KTypeCheckError):
        only_ints("a")


def test_the_switch_is_restored_after_an_exception():
    with pytest.raises(RuntimeError), kt.Config(typechecking_enabled=False):
        raise RuntimeError
    with pytest.raises(kt.KTypeCheckError):
        only_ints("a")


def test_checks_can_be_switched_off_everywhere(monkeypatch):
    monkeypatch.setattr(kt.CONFIG, "typechecking_enabled", False)
    assert only_ints("a") == "a"
    with kt.typechecked(), pytest.raises(kt.NoActiveScopeError, match="switched on"):
        kt.shape("n")


def test_checks_can_be_switched_off_for_modules():
    kt.add_config_override(__name__, kt.Config(typechecking_enabled=False))
    try:
        assert only_ints("a") == "a"
        kt.add_config_override(r"tests\.", kt.Config())
        with pytest.raises(kt.KTypeCheckError):
            only_ints("a")
        kt.remove_config_override(r"tests\.")
    finally:
        kt.remove_config_override(__name__)
    with pytest.raises(kt.KTypeCheckError):
        only_ints("a")
    with pytest.raises(KeyError, match="No config override"):
        kt.remove_config_override("nothing")


@pytest.mark.parametrize("value, raises", [("0", False), ("off", False), ("1", True)])
def test_the_environment_switches_checks_off(value, raises):
    import os
    import subprocess
    import sys

    code = (
        "from kauldron import ktyping as kt\n"
        "f = kt.typechecked(lambda x: x)\n"
        "f.__wrapped__.__annotations__['x'] = int\n"
        "f('a')\n"
    )
    environment = {**os.environ, "KAULDRON_TYPECHECKING": value}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=False
    )
    assert (result.returncode != 0) == raises, result.stderr


def test_an_unknown_setting_of_the_environment_is_refused(monkeypatch):
    from kauldron.ktyping import _config

    monkeypatch.setenv("KAULDRON_TYPECHECKING", "al")
    with pytest.raises(ValueError, match="must be `0`, `1` or `all`: got 'al'"):
        _config._initial()


# jaxtyping.


def test_jaxtyping_annotations_share_the_dims_without_a_warning(recwarn):
    import jax
    import jax.numpy as jnp
    import jaxtyping as jt

    @kt.typechecked
    def f(
        x: jt.Float[jax.Array, "*b n"],
        y: kt.Float["n"],
        z: jt.Int[np.ndarray, "rows=2 n"] | None = None,
        key: jt.PRNGKeyArray | None = None,
        tree: jt.PyTree[jt.Float[jax.Array, "..."]] = None,
    ) -> jt.Float[jax.Array, "*b"]:
        assert kt.dim["*b"] == x.shape[:-1]
        return x.sum(-1)

    x = jnp.ones((2, 3))
    f(x, x[0], np.ones((2, 3), int), jax.random.key(0), {"a": x})
    jax.jit(f)(x, x[0])
    for args in [(x, x), (x, jnp.ones(4)), (x, x[0], np.ones((3, 3), int)), (A, x[0])]:
        with pytest.raises(kt.KTypeCheckError):
            f(*args)
    assert not recwarn.list


@pytest.mark.parametrize("policy", ["ignore", "log_info", "warn", "error"])
def test_jaxtyping_policies(policy, caplog):
    import logging
    import warnings

    import jaxtyping as jt

    @kt.typechecked
    def f(x: jt.Float[np.ndarray, "n"]) -> None: ...

    caplog.set_level(logging.INFO)
    with kt.Config(jaxtyping_annotations=policy), warnings.catch_warnings():
        warnings.simplefilter("error")
        if policy == "ignore":
            f("anything")
        elif policy == "log_info":
            f(np.ones(3))
            assert "jaxtyping annotation" in caplog.text
        elif policy == "warn":
            with pytest.raises(UserWarning, match="jaxtyping annotation"):
                f(np.ones(3))
        else:
            with pytest.raises(kt.KTypeCheckError, match=r"Write it as `kt\.Float"):
                f(np.ones(3))


def test_functions_of_both_libraries_call_each_other(recwarn):
    import beartype
    import jaxtyping as jt

    @jt.jaxtyped(typechecker=beartype.beartype)
    def theirs(x: jt.Float[np.ndarray, "n m"]) -> jt.Float[np.ndarray, "m n"]:
        return ours(x)

    @kt.typechecked
    def ours(x: kt.Float["m n"]) -> kt.Float["n m"]:
        return x.T

    assert theirs(A).shape == (3, 2)
    assert not recwarn.list
