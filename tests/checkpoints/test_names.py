"""Names of leaves: what is saved under them is what was there, or it is refused."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.sharding import TrainState

_A, _B = jnp.asarray(np.float32([0, 1])), jnp.asarray(np.float32([5, 6]))


def _checkpointer(workdir):
    return kd.ckpts.Checkpointer(workdir=workdir, save_interval_steps=1)


def _save(workdir, state):
    with _checkpointer(workdir) as checkpointer:
        checkpointer.save(state, step=1)


def _state(params):
    return TrainState(step=jnp.int32(1), params=params, collections={}, opt_state=())


@pytest.mark.parametrize(
    ("params", "name", "both"),
    [
        ({"a.b": _A, "a": {"b": _B}}, "a.b", ["['a']['b']", "['a.b']"]),
        ({"a.b": {"c": _A}, "a": {"b.c": _B}}, "a.b.c", ["['a']['b.c']"]),
        ({"a.0": _A, "a": [_B]}, "a.0", ["['a'][0]", "['a.0']"]),
        ({"a": {"": _A}, "a.": _B}, "a.", ["['a']['']", "['a.']"]),
        ({"": {"b": _A}, ".b": _B}, ".b", ["['']['b']"]),
    ],
)
def test_names_that_flatten_to_one_are_refused_before_anything_is_written(
    tmp_path, params, name, both
):
    with (
        _checkpointer(tmp_path) as checkpointer,
        pytest.raises(kd.ckpts.CheckpointError) as e,
    ):
        checkpointer.save(_state(params), step=1)
    assert f"Two arrays would both be called 'params.{name}'" in str(e.value)
    assert all(f".params{path}" in str(e.value) for path in both)
    assert not list((tmp_path / "checkpoints").iterdir())


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"a": {0: _A, "0": _B}}, r"\['a'\]: 0 \(number\), '0' \(str\)"),
        ({(1, 2): _A, "b": _B}, r"\(1, 2\) \(tuple\), 'b' \(str\)"),
        ({"a": {"\ud800": _A}}, r"cannot be written as UTF-8, at .*\\ud800"),
    ],
)
def test_keys_that_are_no_names_are_refused(tmp_path, params, message):
    with (
        _checkpointer(tmp_path) as checkpointer,
        pytest.raises(kd.ckpts.CheckpointError, match=message),
    ):
        checkpointer.save(_state(params), step=1)
    assert not list((tmp_path / "checkpoints").iterdir())


def _full(size, value):
    return jnp.asarray(np.full(size, value, np.float32))


# A key may hold anything as long as no other leaf has the same name.
_ODD = {
    "a.b": {"w": _full(2, 1)},
    "a": _full(3, 2),
    "a/b": _full(2, 3),
    "/": {"": _full(2, 4)},
    "..": _full(2, 5),
    "it's": {"w[0]": _full(2, 6)},
    "mlp/~/linear": {"w": _full(2, 7)},
    "0": [_full(2, 8), {"é\n": _full(2, 9)}],
    "c": {10: _full(2, 10), 2: _full(2, 11)},
}


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("odd")
    _save(workdir, _state(_ODD))
    return workdir


def _assert_same(restored: Any, expected: Any) -> None:
    assert jax.tree.structure(restored) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, restored, expected)


def test_odd_keys_come_back_as_they_were(odd):
    blank = jax.tree.map(jnp.zeros_like, _state(_ODD))
    _assert_same(_checkpointer(odd).restore(blank).params, _ODD)


def test_odd_keys_are_nested_as_they_were_saved(odd):
    nested = kd.ckpts.load_arrays(odd, nested=True)["params"]
    as_texts = {**_ODD, "0": dict(zip("01", _ODD["0"], strict=True))}
    as_texts["c"] = {str(key): value for key, value in _ODD["c"].items()}
    _assert_same(nested, as_texts)


def test_odd_keys_are_loaded_in_parts(odd):
    blank = jax.tree.map(jnp.zeros_like, _ODD)
    _assert_same(
        kd.ckpts.SimpleCheckpointLoader(odd).transform(_state(blank)).params, _ODD
    )
    # Groups of a regular expression stand for names, whatever is in them.
    rules = {r"re:params\.new\.(.*)": r"params.\1"}
    state = _state({"new": {"it's": {"w[0]": jnp.zeros(2)}}})
    loaded = kd.ckpts.PartialKauldronLoader(odd, rules).transform(state)
    np.testing.assert_array_equal(loaded.params["new"]["it's"]["w[0]"], [6, 6])


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_odd_keys_are_exported_with_their_names(odd, tmp_path, suffix):
    expected = kd.ckpts.load_arrays(odd)
    path = tmp_path / f"x.{suffix}"
    kd.ckpts.export_arrays(odd, path)
    found = np.load(path) if suffix == "npz" else kd.ckpts.SafetensorsFiles(path)
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize(
    ("names", "suffix", "message"),
    [
        (["w", "w.npy"], "npz", "takes 'w.npy' for 'w'"),
        (["a\0b"], "npz", "ends at a NUL"),
        (["__metadata__"], "safetensors", "a meaning of its own"),
    ],
)
def test_names_that_a_format_does_not_hold_are_refused(
    tmp_path, names, suffix, message
):
    _save(tmp_path, dict.fromkeys(names, _A))
    with pytest.raises(kd.ckpts.CheckpointError, match=message):
        kd.ckpts.export_arrays(tmp_path, tmp_path / f"x.{suffix}")
    assert not list(tmp_path.glob("x.*"))


def test_names_that_numpy_takes_for_arguments_are_exported(tmp_path):
    names = ["file", "allow_pickle", "arr_0", "only.npy"]
    _save(tmp_path, {name: i + _A for i, name in enumerate(names)})
    kd.ckpts.export_arrays(tmp_path, tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as arrays:
        assert [arrays[name].tolist() for name in names] == [
            [i, i + 1] for i in range(4)
        ]


def test_checkpoint_of_others_that_lost_an_array_is_refused(tmp_path):
    import orbax.checkpoint as ocp

    path = tmp_path / "checkpoints/ckpt_1/state"
    with ocp.StandardCheckpointer() as writer:
        writer.save(path, {"a.b": _A, "a": {"b": _B}})
    for read in (
        lambda: kd.ckpts.load_arrays(tmp_path),
        lambda: _checkpointer(tmp_path).restore({"a.b": _A, "a": {"b": _B}}),
    ):
        with pytest.raises(kd.ckpts.CheckpointError, match=r"called 'a\.b'"):
            read()


def test_array_of_two_files_is_refused(tmp_path):
    for name in ("one", "two"):
        arrays = {"w": np.ones(2, np.float32), name: np.zeros(1, np.int8)}
        kd.ckpts.save_safetensors(arrays, tmp_path / f"{name}.safetensors")
    with pytest.raises(kd.ckpts.CheckpointError, match="'w' is in two files of"):
        kd.ckpts.SafetensorsFiles(tmp_path)
    files = kd.ckpts.SafetensorsFiles(tmp_path / "one.safetensors")
    assert set(files) == {"w", "one"}


class _Counts:
    def __init__(self, state: Any) -> None:
        self.state = state

    def get_state(self) -> Any:
        return self.state

    def set_state(self, state: Any) -> None:
        self.state = state


@dataclasses.dataclass(frozen=True)
class _Run(kd.ckpts.items.TopLevelCheckpointItem):
    arrays: Any
    counts: Any = None
    state: Any = None
    metrics: Any = None

    DEFAULT_ITEM: ClassVar[str] = "arrays"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"counts": _Counts({"seen": [{0: 1, "0": 2}]})},
            r"0 and '0' of \['seen'\]\[0\] are the same in JSON",
        ),
        ({"state": {"w": _B}}, r"field 'state' of _Run .* that of the field 'arrays'"),
        ({"metrics": {"w": _B}}, r"field 'metrics' of _Run .* what was measured"),
    ],
)
def test_items_that_would_overwrite_each_other_are_refused(tmp_path, fields, message):
    with (
        _checkpointer(tmp_path) as checkpointer,
        pytest.raises(kd.ckpts.CheckpointError, match=message),
    ):
        checkpointer.save(_Run({"w": _A}, **fields), step=1)
    assert not list(tmp_path.glob("checkpoints/*"))
