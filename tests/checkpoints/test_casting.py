"""What a saved array may become: no number changes in silence, keys come as asked."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from kauldron import kd
from kauldron.checkpoints import _dtype_changes
from kauldron.sharding import TrainState

_WHOLE = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
_OTHERS = ["bool", "float16", "float32", "float64", "complex64", "complex128"]


def _dtype(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


def _spec(dtype) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((3,), dtype)


def _save(workdir, tree):
    with kd.ckpts.Checkpointer(workdir=workdir, save_interval_steps=1) as checkpointer:
        checkpointer.save({"params": tree}, step=0)


def _restore(workdir, tree):
    checkpointer = kd.ckpts.Checkpointer(workdir=workdir, save_interval_steps=1)
    return checkpointer.restore({"params": tree}, donate=False)["params"]


def _read(workdir, tree):
    return kd.ckpts.CheckpointReader(workdir).restore({"params": tree}, step=0)[
        "params"
    ]


def _load(workdir, tree):
    loader = kd.ckpts.PartialKauldronLoader(workdir, {"params": "params"})
    return loader.transform(TrainState(step=0, params=tree)).params


_WAYS = pytest.mark.parametrize("way", [_restore, _read, _load])


def _fits(saved: str, asked: str) -> bool:
    return _dtype_changes.mismatch(_spec(_dtype(asked)), _spec(_dtype(saved))) is None


def test_whole_numbers_go_where_numpy_calls_it_safe():
    pairs = list(itertools.product(_WHOLE, _WHOLE))
    assert {pair for pair in pairs if _fits(*pair)} == {
        pair for pair in pairs if np.can_cast(*pair, "safe")
    }


def test_whole_numbers_become_no_other_kind_and_none_becomes_one():
    pairs = itertools.product(_WHOLE, _OTHERS)
    assert not [(a, b) for a, b in pairs if _fits(a, b) or _fits(b, a)]


@pytest.mark.parametrize(
    ("saved", "asked", "fits"),
    [
        ("int4", "int8", True),
        ("uint4", "int8", True),
        ("int8", "int4", False),
        ("bool", "float32", False),
        ("float32", "bool", False),
        ("float32", "complex64", False),
        ("complex64", "float32", False),
        ("bool", "bool", True),
        ("float8_e5m2", "bfloat16", True),
        ("float32", "float8_e4m3fn", True),  # its values are looked at
        ("float64", "float32", True),
        ("complex128", "complex64", True),
    ],
)
def test_kinds_of_small_and_wide_types(saved, asked, fits):
    assert _fits(saved, asked) == fits


@pytest.mark.parametrize(
    ("leaf", "saved", "fits"),
    [
        (3, np.int32(7), True),
        (3, np.int64(7), True),
        (3, np.float32(1.7), False),
        (2.5, np.float32(1.7), True),
        (2.5, np.int32(1), False),
        (True, np.bool_(False), True),
        (True, np.int32(5), False),
    ],
)
def test_numbers_of_python_stay_of_their_kind(tmp_path, leaf, saved, fits):
    _save(tmp_path, {"n": saved})
    for way in (_restore, _load):
        if fits:
            restored = way(tmp_path, {"n": leaf})["n"]
            assert (type(restored), restored) == (type(leaf), saved.item())
        else:
            with pytest.raises(kd.ckpts.CheckpointError, match=r"params\.n: "):
                way(tmp_path, {"n": leaf})


@pytest.mark.parametrize("make", [np.zeros, jnp.zeros])
@_WAYS
def test_number_that_would_wrap_is_refused_by_path(tmp_path, way, make):
    _save(tmp_path, {"w": np.array([300, 1, 2], np.int32), "ok": np.ones(2, np.int8)})
    wanted = {"w": make(3, "uint8"), "ok": make(2, "int32")}
    with pytest.raises(
        kd.ckpts.CheckpointError,
        match=r"params\.w: int32\[3\] in the checkpoint, expected uint8\[3\], which "
        "does not hold all its numbers",
    ) as e:
        way(tmp_path, wanted)
    assert "params.ok" not in str(e.value)
    restored = way(tmp_path, {**wanted, "w": make(3, "int32")})
    assert restored["w"].tolist() == [300, 1, 2]
    assert (restored["ok"].dtype, restored["ok"].tolist()) == (np.int32, [1, 1])


# Largest number that stays one, smallest that does not: the values next to half of a last
# digit above the largest number of the type.
_LIMITS = {
    "float16": (65519.996, 65520.0),
    "bfloat16": (3.3961773e38, 3.3961775e38),
    "float8_e4m3fn": (464.0, 464.00003),
    "float8_e5m2": (61439.996, 61440.0),
    "float8_e3m4": (15.749999, 15.75),
    "float8_e4m3b11fnuz": (30.999998, 31.0),
    "float4_e2m1fn": (7.0, 7.0000005),
}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("asked", _LIMITS)
def test_finite_numbers_stay_finite(asked, sign):
    """On host and devices; `ml_dtypes` says what the largest good one becomes."""
    good, bad = (np.array([0, sign * x], np.float32) for x in _LIMITS[asked])
    dtype = _dtype(asked)
    for cast, put in [
        (_dtype_changes.cast, np.asarray),
        (_dtype_changes.cast_on_devices, jnp.asarray),
    ]:
        result = np.asarray(cast(put(good), dtype, name="w"))
        assert result.dtype == dtype
        assert result.astype(np.float32)[1] == sign * float(jnp.finfo(dtype).max)
        with pytest.raises(
            kd.ckpts.CheckpointError, match="w: 1 of 2 numbers of float"
        ):
            cast(put(bad), dtype, name="w")


@pytest.mark.parametrize("make", [np.zeros, jnp.zeros])
@_WAYS
def test_floats_too_large_are_refused_by_path(tmp_path, way, make):
    _save(tmp_path, {"w": np.array([1.7, -7e4, np.inf, 2**-30], np.float32)})
    with pytest.raises(
        kd.ckpts.CheckpointError,
        match=r"params\.w: 1 of 4 numbers of float32\[4\] .* too large for float16",
    ):
        way(tmp_path, {"w": make(4, "float16")})
    # What is infinite stays so; what is too small becomes 0: digits may be lost.
    restored = way(tmp_path, {"w": make(4, "bfloat16")})["w"]
    assert restored.dtype == jnp.bfloat16
    expected = np.array([1.7, -7e4, np.inf, 2**-30]).astype(ml_dtypes.bfloat16)
    np.testing.assert_array_equal(np.asarray(restored), expected)


@_WAYS
def test_double_precision_goes_into_single_if_it_fits(tmp_path, way):
    _save(tmp_path, {"w": np.array([1e300, 1.0]), "ok": np.array([0.1, np.nan])})
    blank = {"w": np.zeros(2), "ok": jnp.zeros(2)}
    restored = way(tmp_path, blank)
    np.testing.assert_array_equal(restored["w"], [1e300, 1.0])
    np.testing.assert_array_equal(restored["ok"], np.float32([0.1, np.nan]))
    with pytest.raises(kd.ckpts.CheckpointError, match=r"params\.w: 1 of 2 .*float64"):
        way(tmp_path, {**blank, "w": jnp.zeros(2)})


def test_narrowed_arrays_keep_their_sharding(tmp_path):
    _save(tmp_path, {"w": np.arange(16.0, dtype=np.float32).reshape(8, 2)})
    blank = jax.device_put(jnp.zeros((8, 2), jnp.bfloat16), kd.sharding.FIRST_DIM)
    wide = np.arange(16.0).reshape(8, 2)  # f64: JAX does not hold it
    _save(tmp_path / "wide", {"w": wide})
    for way in (_restore, _read, _load):
        for folder, dtype in [(tmp_path, "bfloat16"), (tmp_path / "wide", "float32")]:
            restored = way(folder, {"w": blank.astype(dtype)})["w"]
            assert restored.sharding == kd.sharding.FIRST_DIM
            np.testing.assert_array_equal(np.float64(restored), wide)


@pytest.mark.parametrize("saved", ["float16", "float32", "float8_e4m3fn"])
def test_negative_numbers_do_not_go_where_there_are_none(saved):
    """`float8_e8m0fnu` has powers of two and nothing else."""
    dtype = _dtype("float8_e8m0fnu")
    good, bad = (np.array(x).astype(_dtype(saved)) for x in ([1, 8], [-1, 8]))
    for cast, put in [
        (_dtype_changes.cast, np.asarray),
        (_dtype_changes.cast_on_devices, jnp.asarray),
    ]:
        result = np.asarray(cast(put(good), dtype, name="w"))
        np.testing.assert_array_equal(result.astype(np.float32), [1, 8])
        with pytest.raises(kd.ckpts.CheckpointError, match="w: 1 of 2 numbers"):
            cast(put(bad), dtype, name="w")


def test_safetensors_are_cast_as_checkpoints_are(tmp_path):
    path = tmp_path / "x.safetensors"
    arrays = {"big": np.float32([7e4]), "n": np.int32([300])}
    kd.ckpts.save_safetensors(arrays, path)
    for name, dtype, message in [
        ("big", "float16", r"does not fit this run:\n  big: 1 of 1 numbers"),
        ("n", "uint8", r"params\.w: int32\[1\] .*expected uint8"),
        ("n", "float32", r"params\.w: int32\[1\] .*expected float32"),
    ]:
        state = TrainState(step=0, params={"w": jnp.zeros(1, dtype)})
        with pytest.raises(kd.ckpts.CheckpointError, match=message):
            kd.ckpts.SafetensorsLoader(path, {"params.w": name}).transform(state)


@pytest.mark.parametrize(
    "kinds", ["bf16 f32", "f32 bf16", "bf16 f32 host", "bf16 transformed", "f32 larger"]
)
def test_leaves_that_share_a_source_take_it_each_in_its_own_way(tmp_path, kinds):
    value = np.float32([1 / 3, 2 / 3])
    _save(tmp_path, {"w": value})
    blank = {
        "bf16": jnp.zeros(2, jnp.bfloat16),
        "f32": jnp.zeros(2),
        "host": np.zeros(2),
        "transformed": jnp.zeros(2),
        "larger": jnp.zeros(3),
    }
    expected = {
        "bf16": value.astype(jnp.bfloat16),
        "f32": value,
        "host": value.astype(np.float64),
        "transformed": value[::-1],
        "larger": np.append(value, 0),
    }
    names = {f"{i}_{kind}": kind for i, kind in enumerate(kinds.split())}
    state = TrainState(step=0, params={n: blank[kind] for n, kind in names.items()})
    loader = kd.ckpts.PartialKauldronLoader(
        tmp_path,
        {f"params.{name}": "params.w" for name in names},
        transform={"*_transformed": np.flip} if "transformed" in kinds else {},
        resize={"*_larger": kd.ckpts.CopyOverlap()} if "larger" in kinds else {},
    )
    loaded = loader.transform(state).params
    for name, kind in names.items():
        assert loaded[name].dtype == blank[kind].dtype
        np.testing.assert_array_equal(np.asarray(loaded[name]), expected[kind])


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("keys")
    _save(
        workdir,
        {
            "typed": jax.random.split(jax.random.key(7), 2),
            "raw": jax.random.PRNGKey(5),
            "rbg": jax.random.key(3, impl="rbg"),
        },
    )
    return workdir


@_WAYS
def test_keys_come_as_they_are_asked_for(keys, way):
    blank = {
        "typed": jnp.zeros((2, 2), jnp.uint32),
        "raw": jax.random.key(0),
        "rbg": jax.random.key(0, impl="rbg"),
    }
    restored = way(keys, blank)
    assert {n: x.dtype for n, x in restored.items()} == {
        n: x.dtype for n, x in blank.items()
    }
    expected = jax.random.key_data(jax.random.split(jax.random.key(7), 2))
    np.testing.assert_array_equal(restored["typed"], expected)
    draws = [jax.random.normal(k, 3) for k in (restored["raw"], jax.random.key(5))]
    np.testing.assert_array_equal(*draws)
    rbg = jax.random.key_data(jax.random.key(3, impl="rbg"))
    np.testing.assert_array_equal(jax.random.key_data(restored["rbg"]), rbg)


@_WAYS
def test_keys_of_another_algorithm_are_refused_by_name(keys, way):
    blank = {
        "typed": jax.random.split(jax.random.key(0), 2),
        "raw": jnp.zeros(2, jnp.uint32),
        "rbg": jax.random.key(0, impl="unsafe_rbg"),  # of the same shape
    }
    with pytest.raises(
        kd.ckpts.CheckpointError,
        match=r"params\.rbg: keys of 'rbg' in .*expected those of 'unsafe_rbg'",
    ):
        way(keys, blank)


@_WAYS
def test_what_is_no_key_does_not_become_one(tmp_path, way):
    _save(tmp_path, {"k": np.zeros(2, np.int32), "f": np.zeros(2, np.float32)})
    blank = {"k": jax.random.key(0), "f": jax.random.key(0)}
    with pytest.raises(kd.ckpts.CheckpointError, match=r"params\.f: float32") as e:
        way(tmp_path, blank)
    assert "params.k: int32[2] in the checkpoint, expected uint32[2]" in str(e.value)


def test_raw_bits_from_safetensors_become_typed_keys(tmp_path):
    path = tmp_path / "x.safetensors"
    kd.ckpts.save_safetensors({"k": np.array([0, 5], np.uint32)}, path)
    state = TrainState(step=0, params={"k": jax.random.key(0)})
    loaded = kd.ckpts.SafetensorsLoader(path, {"params.k": "k"}).transform(state)
    assert loaded.params["k"] == jax.random.key(5)
