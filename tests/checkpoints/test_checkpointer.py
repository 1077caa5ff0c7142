"""Saving and restoring through Orbax."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from kauldron import kd
from kauldron.sharding import TrainState


class Counter:
    """A stateful object, like a data iterator."""

    def __init__(self, n: int = 0) -> None:
        self.n = n

    def get_state(self) -> Any:
        return {"n": self.n}

    def set_state(self, state: Any) -> None:
        self.n = state["n"]


@dataclasses.dataclass(frozen=True)
class Run(kd.ckpts.items.TopLevelCheckpointItem):
    arrays: Any
    counter: Counter

    DEFAULT_ITEM: ClassVar[str] = "arrays"


def _state(scale: float = 1.0) -> TrainState:
    return TrainState(
        step=jnp.int32(4),
        params={"w": scale * jnp.arange(6.0).reshape(2, 3)},
        collections={},
        opt_state=(jnp.ones(3, jnp.bfloat16), {"count": jnp.int32(7)}),
    )


def _checkpointer(tmp_path, **changes):
    return kd.ckpts.Checkpointer(
        workdir=tmp_path, **{"save_interval_steps": 5, **changes}
    )


def _assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_what_is_saved_is_what_is_restored(tmp_path):
    with _checkpointer(tmp_path) as checkpointer:
        assert checkpointer.save(_state(), step=5)
    with _checkpointer(tmp_path) as checkpointer:
        restored = checkpointer.restore(_state(scale=0.0))
    _assert_same(restored, _state())


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_typed_random_keys_come_back_as_they_were(tmp_path, impl):
    key = jax.device_put(jax.random.key(7, impl=impl), kd.sharding.REPLICATED)
    state = {"one": key, "many": jax.random.split(key, (2, 3)), "w": jnp.ones(2)}
    checkpointer = _checkpointer(tmp_path)
    checkpointer.save(state, step=5, force=True)
    checkpointer.wait_until_finished()
    for blank in (
        jax.tree.map(jnp.zeros_like, state),
        jax.eval_shape(lambda: state),
    ):
        restored = checkpointer.restore(blank)
        for name in ("one", "many"):
            assert restored[name].dtype == key.dtype
            np.testing.assert_array_equal(
                jax.random.key_data(restored[name]), jax.random.key_data(state[name])
            )
    with pytest.raises(ValueError, match=r"many: uint32\[2, 3, \d\] in the checkpoint"):
        checkpointer.restore({**state, "many": jax.random.split(key, 3)})
    checkpointer.close()


def test_items_are_restored_in_place(tmp_path):
    with _checkpointer(tmp_path) as checkpointer:
        checkpointer.save(Run(_state(), Counter(3)), step=5)
    counter = Counter()
    with _checkpointer(tmp_path) as checkpointer:
        restored = checkpointer.restore(Run(_state(scale=0.0), counter))
    assert counter.n == 3
    assert restored.counter is counter
    _assert_same(restored.arrays, _state())


def test_checkpoint_is_readable_with_plain_orbax(tmp_path):
    with _checkpointer(tmp_path) as checkpointer:
        checkpointer.save(Run(_state(), Counter(3)), step=5)
    path = tmp_path / "checkpoints" / "ckpt_5" / "state"
    tree = ocp.StandardCheckpointer().restore(path)
    np.testing.assert_array_equal(tree["params"]["w"], np.arange(6.0).reshape(2, 3))


def test_arrays_change_hands_while_the_save_goes_on(tmp_path):
    # The loop donates the state to the next step right after `save` returns.
    step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    state = {"w": jnp.zeros((1 << 20,))}
    with _checkpointer(tmp_path) as checkpointer:
        for i in range(5):
            checkpointer.save(state, step=i, force=True)
            state = step(state)
    with _checkpointer(tmp_path, max_to_keep=None) as checkpointer:
        for i in checkpointer.all_steps:
            restored = checkpointer.restore({"w": jnp.zeros((1 << 20,))}, step=i)
            np.testing.assert_array_equal(restored["w"], np.full(1 << 20, i))


def test_restored_arrays_follow_the_sharding_of_the_new_run(tmp_path):
    w = np.arange(16.0).reshape(8, 2)
    with _checkpointer(tmp_path) as checkpointer:
        checkpointer.save({"w": jax.device_put(w, kd.sharding.REPLICATED)}, step=0)
    with _checkpointer(tmp_path) as checkpointer:
        restored = checkpointer.restore({"w": jax.device_put(w, kd.sharding.FIRST_DIM)})
    assert restored["w"].sharding == kd.sharding.FIRST_DIM
    np.testing.assert_array_equal(restored["w"], w)


def test_newest_steps_are_kept(tmp_path):
    with _checkpointer(tmp_path, max_to_keep=2) as checkpointer:
        for step in (0, 5, 10, 15):
            checkpointer.save(_state(), step=step)
        checkpointer.wait_until_finished()
        assert list(checkpointer.all_steps) == [10, 15]
        assert checkpointer.latest_step == 15


def test_steps_to_save_at(tmp_path):
    checkpointer = _checkpointer(tmp_path, never_save_step_zero=True, save_on_steps=[7])
    assert [s for s in range(12) if checkpointer.should_save(s)] == [5, 7, 10]


def test_a_step_is_not_written_twice(tmp_path):
    with _checkpointer(tmp_path) as checkpointer:
        assert checkpointer.save(_state(), step=5)
        checkpointer.wait_until_finished()
        assert not checkpointer.save(_state(scale=2.0), step=5)


def test_arrays_without_elements_are_refused_by_name(tmp_path):
    with (
        _checkpointer(tmp_path) as checkpointer,
        pytest.raises(kd.ckpts.CheckpointError, match=r"w has shape \(0, 3\)"),
    ):
        checkpointer.save({"w": jnp.zeros((0, 3))}, step=0)


@pytest.mark.parametrize("empty", [{}, [], ()])
def test_saving_nothing_is_refused_before_a_file_is_written(tmp_path, empty):
    checkpointer = kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1)
    with pytest.raises(kd.ckpts.CheckpointError, match="there is nothing to save"):
        checkpointer.save(empty, step=1)
    assert not list(checkpointer.all_steps)
    inside = {"a": jnp.ones(2), "nothing": empty}
    assert checkpointer.save(inside, step=1)
    checkpointer.wait_until_finished()
    restored = kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1).restore(
        {"a": jnp.zeros(2), "nothing": empty}
    )
    assert restored["a"].tolist() == [1, 1]


def test_nothing_is_created_by_looking(tmp_path):
    assert _checkpointer(tmp_path).latest_step is None
    assert not (tmp_path / "checkpoints").exists()


def test_missing_checkpoint(tmp_path):
    checkpointer = _checkpointer(tmp_path)
    state = _state()
    assert checkpointer.restore(state, noop_if_missing=True) is state
    with pytest.raises(FileNotFoundError, match="no checkpoint"):
        checkpointer.restore(state)
    with pytest.raises(FileNotFoundError, match="step 3"):
        checkpointer.restore(state, step=3)


def test_checkpoint_of_another_model_is_refused_with_the_difference(tmp_path):
    with _checkpointer(tmp_path) as checkpointer:
        checkpointer.save(_state(), step=0)
    other = _state().replace(params={"w": jnp.zeros((4, 4))})
    with (
        _checkpointer(tmp_path) as checkpointer,
        pytest.raises(kd.ckpts.CheckpointError, match=r"does not fit this run") as e,
    ):
        checkpointer.restore(other)
    assert "float32[4, 4]" in str(e.value)
    assert "float32[2, 3]" in str(e.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"save_interval_steps": 0}, "at least 1: got 0"),
        ({"best_mode": "most"}, "'max' or 'min'"),
    ],
)
def test_bad_options_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        _checkpointer(tmp_path, **changes)


def test_checkpointer_used_alone_asks_for_a_workdir():
    with pytest.raises(ValueError, match=r"`Checkpointer\.workdir` is not set"):
        _ = kd.ckpts.Checkpointer(save_interval_steps=1).latest_step


def test_noop_checkpointer_refuses_a_forced_save():
    with pytest.raises(ValueError, match="saves nothing"):
        kd.ckpts.NoopCheckpointer().save({}, step=0, force=True)


def test_transforms_apply_in_order_and_are_named_in_errors():
    class Add(kd.ckpts.InitTransform):
        def __init__(self, x):
            self.x = x

        def transform(self, state):
            return state.replace(step=state.step * 10 + self.x)

    class Fail(kd.ckpts.InitTransform):
        def transform(self, state):
            raise ValueError("no")

    both = kd.ckpts.MultiTransform(a=Add(1), b=Add(2))
    assert both.transform(TrainState(step=0)).step == 12
    with pytest.raises(ValueError, match="no") as e:
        kd.ckpts.MultiTransform(bad=Fail()).transform(TrainState(step=0))
    assert "In the init transform 'bad'." in e.value.__notes__


@pytest.mark.parametrize("compress", [False, True])
def test_arrays_take_less_space_if_compressed_and_plain_orbax_reads_them(
    tmp_path, compress
):
    state = {"zeros": jnp.zeros((1000, 100)), "n": np.float32(2)}
    with _checkpointer(tmp_path, compress=compress) as checkpointer:
        checkpointer.save(state, step=5)
    folder = tmp_path / "checkpoints" / "ckpt_5"
    num_bytes = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    assert (num_bytes < 40_000) == compress
    found = ocp.StandardCheckpointer().restore(folder / "state")
    np.testing.assert_array_equal(found["zeros"], np.zeros((1000, 100)))
    assert found["n"] == 2
