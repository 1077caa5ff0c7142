"""Every dtype of JAX in every format: each bit comes back, or it is refused by name."""

from __future__ import annotations

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
from etils import epath

from kauldron import kd
from kauldron.checkpoints import _npz

_INTS = ["int1", "int2", "int4", "int8", "int16", "int32", "int64"]
_UINTS = ["uint1", "uint2", "uint4", "uint8", "uint16", "uint32", "uint64"]
_SMALL = [
    "float6_e2m3fn",
    "float6_e3m2fn",
    "float8_e3m4",
    "float8_e4m3",
    "float8_e4m3b11fnuz",
    "float8_e4m3fn",
    "float8_e4m3fnuz",
    "float8_e5m2",
    "float8_e5m2fnuz",
    "float8_e8m0fnu",
]
_FLOATS = [*_SMALL, "float4_e2m1fn", "bfloat16", "float16", "float32", "float64"]
_ALL = ["bool", *_INTS, *_UINTS, *_FLOATS, "complex64", "complex128"]

_NOT_IN_ORBAX = {
    *("int1", "uint1", "uint2", "uint4"),
    *("float6_e2m3fn", "float6_e3m2fn", "float8_e4m3"),
}
_NOT_IN_SAFETENSORS = {
    *_NOT_IN_ORBAX,
    *("int2", "int4", "float4_e2m1fn", "complex128"),
    *("float8_e3m4", "float8_e4m3b11fnuz"),
}
_WIDER_IN_NPZ = {
    **dict.fromkeys(["int1", "int2", "int4"], "int8"),
    **dict.fromkeys(["uint1", "uint2", "uint4"], "uint8"),
    **dict.fromkeys([*_SMALL, "float4_e2m1fn", "bfloat16"], "float32"),
}


def _dtype(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


def _values(name: str) -> np.ndarray:
    """All values of small types, of larger ones the ends and what is no number."""
    dtype = _dtype(name)
    if name == "bool":
        return np.array([[True, False, True]])
    if name in (*_INTS, *_UINTS):
        info = jnp.iinfo(dtype)
        ends = [[info.min, info.max, 0, info.max // 2]]
        return np.array(ends, object).astype(dtype)
    if dtype.itemsize == 1:
        bits = {"float4": 16, "float6": 64}.get(name.partition("_")[0], 256)
        return np.arange(bits, dtype=np.uint8).view(dtype).reshape(2, -1)
    info = jnp.finfo(dtype)
    ends = [info.min, info.max, info.tiny, -0.0, np.nan, np.inf, -np.inf]
    values = np.array([ends]).astype(dtype)
    return values * np.array(1 + 0.5j, dtype) if dtype.kind == "c" else values


def _assert_same_bits(found: np.ndarray, expected: np.ndarray) -> None:
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes()


def test_the_table_has_every_dtype_of_jax():
    known = {
        name
        for name in dir(jnp)
        if isinstance(getattr(jnp, name), type(jnp.float32))
        and name not in ("bool_", "float_", "int_", "uint", "complex_", "double")
    }
    aliases = {"single", "csingle", "cdouble"}
    assert known - aliases - set(_ALL) == set()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Every dtype that Orbax has, in one checkpoint, as host and device arrays."""
    workdir = tmp_path_factory.mktemp("dtypes")
    host = {name: _values(name) for name in _ALL if name not in _NOT_IN_ORBAX}
    wide = ("int64", "uint64", "float64", "complex128")
    device = {n: jnp.asarray(x) for n, x in host.items() if n not in wide}
    with kd.ckpts.Checkpointer(workdir=workdir, save_interval_steps=1) as checkpointer:
        checkpointer.save({"host": host, "device": device}, step=0)
    return workdir, {"host": host, "device": device}


def test_checkpoint_holds_each_bit_of_each_dtype(saved):
    workdir, expected = saved
    checkpointer = kd.ckpts.Checkpointer(workdir=workdir, save_interval_steps=1)
    restored = checkpointer.restore(expected, donate=False)
    arrays = kd.ckpts.load_arrays(workdir)
    for where, values in expected.items():
        for name, value in values.items():
            for found in (restored[where][name], arrays[f"{where}.{name}"]):
                _assert_same_bits(np.asarray(found), np.asarray(value))


@pytest.mark.parametrize("name", sorted(_NOT_IN_ORBAX))
def test_checkpoint_refuses_the_others_by_name(tmp_path, name):
    with (
        kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1) as checkpointer,
        pytest.raises(kd.ckpts.CheckpointError, match=rf"no {name}, which params\.w"),
    ):
        checkpointer.save({"params": {"w": _values(name)}}, step=0)
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        ("text", "w is a str"),
        (2 + 1j, "w is a complex"),
        (np.array(["a", "b"]), "no str.*, which w has"),
        (np.array([None]), "no object, which w has"),
        (2**70, "no object, which w has"),
    ],
)
def test_checkpoint_refuses_what_is_no_number(tmp_path, leaf, message):
    with (
        kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1) as checkpointer,
        pytest.raises(kd.ckpts.CheckpointError, match=message),
    ):
        checkpointer.save({"w": leaf}, step=0)


@pytest.mark.parametrize("name", _ALL)
def test_safetensors_hold_each_bit_or_refuse(tmp_path, name):
    path, value = tmp_path / "x.safetensors", _values(name)
    arrays = {"first": np.ones(3, np.int8), "params.w": value}
    if name in _NOT_IN_SAFETENSORS:
        with pytest.raises(
            kd.ckpts.CheckpointError, match=rf"no {name}, which params\.w has"
        ):
            kd.ckpts.save_safetensors(arrays, path)
        assert not list(tmp_path.iterdir())
        return
    kd.ckpts.save_safetensors(arrays, path)
    files = kd.ckpts.SafetensorsFiles(path)
    assert files.specs()["params.w"].dtype == value.dtype
    _assert_same_bits(files["params.w"], value)
    if name not in _SMALL:  # which the package does not give to NumPy
        _assert_same_bits(safetensors.numpy.load_file(path)["params.w"], value)


@pytest.mark.parametrize("name", _ALL)
def test_npz_holds_each_value(tmp_path, name):
    value = _values(name)
    _npz.save({"params.w": value}, epath.Path(tmp_path / "x.npz"))
    with np.load(tmp_path / "x.npz") as arrays:
        found = arrays["params.w"]
    assert found.dtype.name == _WIDER_IN_NPZ.get(name, name)
    # Each value is there: its bits come back, but for which of several NaN it was.
    back = found.astype(value.dtype)
    if name in _WIDER_IN_NPZ and name in _FLOATS:
        is_nan = np.isnan(value.astype(np.float32))
        np.testing.assert_array_equal(np.isnan(found), is_nan)
        back, value = back[~is_nan], value[~is_nan]
    _assert_same_bits(back, value)


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@pytest.mark.parametrize("value", [np.array(["a"]), np.array([None], object)])
def test_files_refuse_what_is_no_number(tmp_path, suffix, value):
    save = {
        "npz": lambda: _npz.save({"w": value}, epath.Path(tmp_path / "x.npz")),
        "safetensors": lambda: kd.ckpts.save_safetensors(
            {"w": value}, tmp_path / "x.safetensors"
        ),
    }
    with pytest.raises(kd.ckpts.CheckpointError, match="w has"):
        save[suffix]()
    assert not list(tmp_path.iterdir())


_GRID = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "value",
    [
        _GRID.T,
        _GRID.transpose(1, 0, 2),
        _GRID[:, ::2, 1:],
        _GRID[::-1],
        np.asfortranarray(_GRID),
        np.broadcast_to(_GRID[0, 0], (5, 4)),
        _GRID.astype(">f4"),
        _GRID.astype(ml_dtypes.bfloat16).T,
        _GRID.astype(ml_dtypes.float8_e5m2).T,
        np.float32(7).reshape(()),
        np.zeros((0, 3), np.float32),
    ],
)
@pytest.mark.parametrize("kind", ["npz", "safetensors"])
def test_memory_order_does_not_matter(tmp_path, value, kind):
    path = tmp_path / f"x.{kind}"
    if kind == "npz":
        _npz.save({"w": value}, epath.Path(path))
        found = np.load(path)["w"]
    else:
        kd.ckpts.save_safetensors({"w": value}, path)
        found = kd.ckpts.SafetensorsFiles(path)["w"]
    assert found.shape == value.shape
    np.testing.assert_array_equal(found.astype(np.float32), value.astype(np.float32))


def test_float8_is_loaded_in_parts_of_a_sharded_array(tmp_path):
    import jax

    from kauldron.sharding import TrainState

    value = np.arange(16, dtype=np.uint8).view(ml_dtypes.float8_e4m3fn).reshape(8, 2)
    kd.ckpts.save_safetensors({"w": value}, tmp_path / "x.safetensors")
    blank = jax.device_put(jnp.zeros((8, 2), value.dtype), kd.sharding.FIRST_DIM)
    loader = kd.ckpts.SafetensorsLoader(tmp_path / "x.safetensors", {"params.w": "w"})
    loaded = loader.transform(TrainState(step=0, params={"w": blank})).params["w"]
    assert loaded.sharding == kd.sharding.FIRST_DIM
    _assert_same_bits(np.asarray(loaded), value)


def test_dtype_that_jax_lacks_is_told_when_it_is_read(tmp_path):
    header = b'{"x":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}'
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    files = kd.ckpts.SafetensorsFiles(path)
    assert list(files) == ["x"]
    with pytest.raises(kd.ckpts.CheckpointError, match="'x' is saved as F4"):
        _ = files["x"]


def test_a_smaller_export_replaces_the_index_of_a_larger_one(tmp_path):
    path = tmp_path / "m.safetensors"
    large = {name: np.full(4, i, np.float32) for i, name in enumerate("abc")}
    kd.ckpts.save_safetensors(large, path, max_shard_bytes=16)
    for shard in tmp_path.glob("m-*"):
        shard.unlink()
    kd.ckpts.save_safetensors({"a": np.full(4, 9, np.float32)}, path)
    assert kd.ckpts.SafetensorsFiles(tmp_path)["a"].tolist() == [9, 9, 9, 9]


@pytest.mark.parametrize(("max_bytes", "num_files"), [(31, 3), (32, 2), (48, 1)])
def test_files_are_as_large_as_they_may_be(tmp_path, max_bytes, num_files):
    arrays = {name: np.zeros(4, np.float32) for name in "abc"}  # 16 bytes each
    files = kd.ckpts.save_safetensors(
        arrays, tmp_path / "m.safetensors", max_shard_bytes=max_bytes
    )
    assert len(files) == num_files
