"""Checkpoints of others, of earlier releases, and ours read by others."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from kauldron import kd
from tests.checkpoints.test_checkpointer import Counter, Run, _assert_same, _state
from tests.train import small_run

_FIXTURES = pathlib.Path(__file__).parent / "fixtures"


@dataclasses.dataclass(frozen=True)
class NewerRun(kd.ckpts.items.TopLevelCheckpointItem):
    """What a later release may save: one item more, one that is not used."""

    arrays: Any
    counter: Counter
    added: Counter
    unused: Counter | None = None

    DEFAULT_ITEM: ClassVar[str] = "arrays"


def _checkpointer(workdir):
    return kd.ckpts.Checkpointer(workdir=workdir, save_interval_steps=1)


def test_ours_is_restored_by_the_manager_of_orbax(tmp_path):
    with _checkpointer(tmp_path) as checkpointer:
        checkpointer.save(Run(_state(), Counter(3)), step=5)
    options = ocp.CheckpointManagerOptions(step_prefix="ckpt", read_only=True)
    with ocp.CheckpointManager(tmp_path / "checkpoints", options=options) as manager:
        restored = manager.restore(
            manager.latest_step(),
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(_state(0.0)),
                counter=ocp.args.JsonRestore(),
            ),
        )
    _assert_same(restored["state"], _state())
    assert restored["counter"] == {"n": 3}


@dataclasses.dataclass(frozen=True)
class PublishedRun(kd.ckpts.items.TopLevelCheckpointItem):
    train_state: Any
    chrono: Counter
    ds_iter: Counter

    DEFAULT_ITEM: ClassVar[str] = "train_state"


@pytest.fixture
def published(tmp_path):
    """A layout as the published package writes it, made by Orbax alone."""
    options = ocp.CheckpointManagerOptions(step_prefix="ckpt")
    with ocp.CheckpointManager(tmp_path / "checkpoints", options=options) as manager:
        args = ocp.args.Composite(
            default=ocp.args.StandardSave(_state()),
            timer=ocp.args.JsonSave({"elapsed": 3.5}),
            ds_iter=ocp.args.JsonSave({"n": 8}),
        )
        manager.save(12, args=args)
    return tmp_path


def test_published_layout_is_read(published, capsys):
    chrono, ds_iter = Counter(1), Counter(1)
    run = PublishedRun(_state(0.0), chrono, ds_iter)
    restored = _checkpointer(published).restore(run)
    _assert_same(restored.train_state, _state())
    assert ds_iter.n == 8
    assert chrono.n == 1  # the published timer says other things
    assert "'chrono' is of another program: it starts anew" in capsys.readouterr().err


def test_published_layout_is_loaded_in_parts(published):
    arrays = kd.ckpts.load_arrays(published)
    np.testing.assert_array_equal(arrays["params.w"], np.arange(6.0).reshape(2, 3))
    loaded = kd.ckpts.SimpleCheckpointLoader(published).transform(_state(0.0))
    _assert_same(loaded.params, _state().params)
    assert kd.ckpts.find_damage(published) is None  # there are no checksums
    tree = _checkpointer(published).restore(kd.ckpts.items.StandardCheckpointItem())
    assert int(tree["opt_state"][1]["count"]) == 7


def test_items_that_are_new_keep_their_fresh_state(tmp_path, capsys):
    with _checkpointer(tmp_path) as checkpointer:
        checkpointer.save(Run(_state(), Counter(3)), step=5)
    run = NewerRun(_state(0.0), Counter(), Counter(42))
    restored = _checkpointer(tmp_path).restore(run)
    _assert_same(restored.arrays, _state())
    assert (restored.counter.n, restored.added.n, restored.unused) == (3, 42, None)
    assert "holds no 'added': it starts anew" in capsys.readouterr().err


def test_arrays_that_are_new_are_refused(tmp_path):
    with _checkpointer(tmp_path) as checkpointer:
        checkpointer.save(Run(_state(), Counter(3)), step=5)
    run = NewerRun(_state(), Counter(), jnp.zeros(3))
    with pytest.raises(kd.ckpts.CheckpointError, match="there is no item 'added'"):
        _checkpointer(tmp_path).restore(run)


@pytest.mark.parametrize("release", sorted(p.name for p in _FIXTURES.iterdir()))
def test_checkpoint_of_an_earlier_release_continues(release, tmp_path):
    """The fixture is the run below, stopped at step 2; see `make_fixture.py`."""
    import shutil

    workdir = tmp_path / "run"
    shutil.copytree(_FIXTURES / release, workdir)
    trainer = small_run.make_trainer(
        workdir,
        num_train_steps=3,
        writer=None,
        checkpointer=kd.ckpts.Checkpointer(save_interval_steps=1),
    )
    assert kd.ckpts.find_damage(workdir) == []
    assert trainer.checkpointer.latest_step == 2
    state, _ = trainer.train()
    assert int(state.step) == 3
    assert list(trainer.checkpointer.all_steps) == [2, 3]


class Halves:
    """A custom item: stored with Orbax's JSON handler, restored as a number."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def __kd_ocp_save_args__(self):
        return ocp.args.JsonSave({"half": self.value / 2})

    def __kd_ocp_restore_args__(self):
        return ocp.args.JsonRestore()

    def __kd_ocp_restore_post__(self, value):
        return Halves(2 * value["half"])


def test_items_can_say_how_orbax_stores_them(tmp_path):
    with _checkpointer(tmp_path) as checkpointer:
        checkpointer.save(Run(_state(), Halves(7.0)), step=5)
    restored = _checkpointer(tmp_path).restore(Run(_state(0.0), Halves()))
    assert restored.counter.value == 7.0


def test_item_metadata(tmp_path):
    with _checkpointer(tmp_path) as checkpointer:
        checkpointer.save(Run(_state(), Counter(3)), step=5)
        metadata = checkpointer.item_metadata()
    assert list(metadata) == ["state"]
    assert tuple(metadata["state"]["params"]["w"].shape) == (2, 3)


@pytest.mark.parametrize("num_saved", [1, 8])
def test_devices_and_precision_may_change(tmp_path, num_saved):
    """8 -> 1 -> 2 x 4 devices, float32 -> bfloat16; `w` is split over its first axis."""
    w = np.arange(32.0, dtype=np.float32).reshape(8, 4)

    def put(mesh_shape, dtype):
        devices = np.array(jax.devices()[: np.prod(mesh_shape)]).reshape(mesh_shape)
        names = ("x", "y")[: len(mesh_shape)]
        mesh = jax.sharding.Mesh(devices, names)
        spec = jax.sharding.PartitionSpec(*names)
        return {
            "w": jax.device_put(w.astype(dtype), jax.sharding.NamedSharding(mesh, spec))
        }

    with _checkpointer(tmp_path) as checkpointer:
        checkpointer.save(put((num_saved,), np.float32), step=0)
    for mesh_shape, dtype in [((1,), np.float32), ((2, 4), jnp.bfloat16)]:
        wanted = put(mesh_shape, dtype)
        expected = np.asarray(wanted["w"])
        restored = _checkpointer(tmp_path).restore(wanted)["w"]
        assert (restored.sharding, restored.dtype) == (wanted["w"].sharding, dtype)
        np.testing.assert_array_equal(restored, expected)


def test_deeper_model_is_refused_before_anything_is_read(tmp_path, monkeypatch):
    def layers(n):
        return {"params": {f"layer_{i}": {"w": jnp.zeros(2)} for i in range(n)}}

    with _checkpointer(tmp_path) as checkpointer:
        checkpointer.save(layers(12), step=0)

    def fail(*args, **kwargs):
        raise AssertionError("something was read")

    monkeypatch.setattr(ocp.StandardCheckpointHandler, "restore", fail)
    state = layers(16)
    with pytest.raises(kd.ckpts.CheckpointError) as e:
        _checkpointer(tmp_path).restore(state)
    for i in range(12, 16):
        line = f"params.layer_{i}.w: not in the checkpoint, expected float32[2]"
        assert line in str(e.value)
    assert not state["params"]["layer_0"]["w"].is_deleted()
    with pytest.raises(kd.ckpts.CheckpointError, match=r"layer_11\.w: .* not expected"):
        _checkpointer(tmp_path).restore(layers(11))


def test_whole_numbers_are_not_taken_for_floats(tmp_path):
    with _checkpointer(tmp_path) as checkpointer:
        checkpointer.save({"w": jnp.zeros(3)}, step=0)
    with pytest.raises(
        kd.ckpts.CheckpointError, match=r"w: float32\[3\] in .*, expected int32\[3\]"
    ):
        _checkpointer(tmp_path).restore({"w": jnp.zeros(3, jnp.int32)})


def test_new_steps_are_yielded_as_they_come(tmp_path):
    reader, timeouts = _checkpointer(tmp_path), []

    def on_timeout() -> bool:
        timeouts.append(len(timeouts))
        return len(timeouts) == 2

    steps = reader.iter_new_checkpoints(
        seconds_to_sleep=0.01, timeout=0.02, timeout_fn=on_timeout
    )
    seen = []
    with _checkpointer(tmp_path) as writer:
        for step in (3, 7):
            writer.save({"w": jnp.zeros(2)}, step=step)
            writer.wait_until_finished()
            seen.append(next(steps))
        assert list(steps) == []
    assert seen == [3, 7]
    assert timeouts == [0, 1]


def test_experiment_ids_are_refused_with_the_way_out():
    with pytest.raises(kd.ckpts.CheckpointError, match="workdir='runs/my_run'"):
        kd.ckpts.workdir_from_xid(1234)
