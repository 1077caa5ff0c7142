"""Loading parts of another run into the initial state."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from kauldron import kd, konfig
from kauldron.sharding import TrainState

_OPTIMIZER = optax.chain(optax.clip(1.0), optax.adam(1e-3))


def _params(value: float, *, num_classes: int = 3, num_positions: int = 5):
    def full(*shape):
        return np.float32(value) + np.arange(np.prod(shape), dtype="f4").reshape(shape)

    params = {
        "trunk": {f"block{i}": {"kernel": i * 100 + full(2, 2)} for i in range(2)},
        "pos": full(1, num_positions, 2),
        "head": {"kernel": full(2, num_classes), "bias": full(num_classes)},
    }
    return jax.tree.map(jnp.asarray, params)


def _state(
    value: float, *, step: int = 0, optimizer=_OPTIMIZER, **kwargs
) -> TrainState:
    params = _params(value, **kwargs)
    return TrainState(
        step=jnp.int32(step),
        params=params,
        collections={"batch_stats": {"mean": jnp.asarray(np.full(2, value, "f4"))}},
        opt_state=jax.jit(
            lambda p: jax.tree.map(lambda x: x + int(value), optimizer.init(p))
        )(params),
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A run whose values are those of `_state(7)`, saved at steps 3 and 5."""
    workdir = tmp_path_factory.mktemp("saved")
    with kd.ckpts.Checkpointer(workdir=workdir, save_interval_steps=1) as checkpointer:
        checkpointer.save(_state(1, step=3), step=3)
        checkpointer.save(_state(7, step=5), step=5)
    return workdir


def _apply(loader, state):
    """As `TrainStep.init` does: before and after the optimizer is made."""
    before = loader.transform(state.replace(opt_state=None))
    return loader.transform_after_optimizer(before.replace(opt_state=state.opt_state))


def _assert_same(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_default_loads_params_and_collections_and_nothing_else(saved):
    loaded = _apply(kd.ckpts.PartialKauldronLoader(saved), _state(0))
    _assert_same(loaded.params, _state(7).params)
    _assert_same(loaded.collections, _state(7).collections)
    _assert_same(loaded.opt_state, _state(0).opt_state)
    assert int(loaded.step) == 0


def test_relaunch_takes_the_whole_state(saved):
    everything = {k: k for k in ("step", "params", "collections", "opt_state")}
    loader = kd.ckpts.PartialKauldronLoader(workdir=saved, new_to_old=everything)
    _assert_same(_apply(loader, _state(0)), _state(7, step=5))


def test_optimizer_alone(saved):
    loader = kd.ckpts.PartialKauldronLoader(saved, {"opt_state": "opt_state"})
    loaded = _apply(loader, _state(0))
    _assert_same(loaded.opt_state, _state(7).opt_state)
    _assert_same(loaded.params, _state(0).params)


def test_step_can_be_chosen(saved):
    loaded = _apply(kd.ckpts.PartialKauldronLoader(saved, step=3), _state(0))
    _assert_same(loaded.params, _state(1).params)


@pytest.mark.parametrize("load_opt_state", [False, True])
def test_simple_loader(saved, load_opt_state):
    loader = kd.ckpts.SimpleCheckpointLoader(saved, load_opt_state=load_opt_state)
    loaded = _apply(loader, _state(0))
    _assert_same(loaded.params, _state(7).params)
    _assert_same(loaded.opt_state, _state(7 if load_opt_state else 0).opt_state)
    assert int(loaded.step) == 0


@pytest.mark.parametrize(
    ("new_to_old", "name"),
    [
        ({"params.encoder": "params.trunk"}, "block"),
        ({"params.encoder.layer_*": "params.trunk.block*"}, "layer_"),
        ({"params.encoder.**.kernel": "params.trunk.**.kernel"}, "block"),
        (
            {r"re:params\.encoder\.layer_(\d)\.(.*)": r"params.trunk.block\1.\2"},
            "layer_",
        ),
        (
            {"params.encoder.layer_*.kernel": "opt_state[1][0].mu.trunk.block*.kernel"},
            "",
        ),
    ],
)
def test_renaming(saved, new_to_old, name):
    zeros = jnp.zeros((2, 2))
    names = [f"{name or 'layer_'}{i}" for i in range(2)]
    state = TrainState(
        step=0,
        params={"encoder": {n: {"kernel": zeros} for n in names}},
        collections={},
    )
    loaded = kd.ckpts.PartialKauldronLoader(saved, new_to_old).transform(state)
    for i, n in enumerate(names):
        expected = _params(7)["trunk"][f"block{i}"]["kernel"] if name else zeros + 7
        np.testing.assert_array_equal(loaded.params["encoder"][n]["kernel"], expected)


def test_last_rule_decides(saved):
    rules = {
        "params.trunk": "params.trunk",
        "params.trunk.block0": "params.trunk.block1",
    }
    loader = kd.ckpts.PartialKauldronLoader(
        saved, rules, ignore_restored_keys=["block0"]
    )
    trunk = loader.transform(_state(0)).params["trunk"]
    _assert_same(trunk["block0"], trunk["block1"])


def test_ignored_keys_match_at_any_depth(saved, capsys):
    state = _state(0, num_classes=10)
    state = state.replace(params={**state.params, "lora": {"a": {"w": jnp.ones(2)}}})
    loader = kd.ckpts.PartialKauldronLoader(
        saved, ignore_model_keys=["head", "**.lora"], ignore_restored_keys=["nothing"]
    )
    loaded = loader.transform(state)
    _assert_same(loaded.params["head"], state.params["head"])
    _assert_same(loaded.params["lora"], state.params["lora"])
    _assert_same(loaded.params["trunk"], _params(7)["trunk"])
    table = [line.split() for line in capsys.readouterr().err.splitlines()]
    trunk, head = (
        sum(x.nbytes for x in jax.tree.leaves(state.params[name]))
        for name in ("trunk", "head")
    )
    assert ["params.trunk", "2", "arrays", str(trunk), "B", "loaded"] in table
    assert ["params.head", "2", "arrays", str(head), "B", "kept", "(ignored)"] in table


def test_keys_to_keep_that_match_nothing_are_told_with_the_nearest_name(saved, capsys):
    loader = kd.ckpts.PartialKauldronLoader(saved, ignore_model_keys=["haed", "pos"])
    state = _apply(loader, _state(0))
    np.testing.assert_array_equal(state.params["pos"], _params(0)["pos"])
    np.testing.assert_array_equal(
        state.params["head"]["bias"], _params(7)["head"]["bias"]
    )
    told = capsys.readouterr().err
    assert told.count("nothing in this run is called 'haed'. Did you mean 'head'?") == 1


def test_superfluous_arrays_of_the_checkpoint_can_be_ignored(saved, capsys):
    state = _state(0)
    state.params.pop("head")
    with pytest.raises(kd.ckpts.CheckpointError, match="nothing to load it into"):
        kd.ckpts.PartialKauldronLoader(saved).transform(state)
    loader = kd.ckpts.PartialKauldronLoader(saved, ignore_restored_keys=["params.head"])
    assert set(loader.transform(state).params) == {"trunk", "pos"}
    assert "ignored in the checkpoint" in capsys.readouterr().err


def test_values_follow_dtype_and_sharding_of_the_run(saved):
    everywhere = jax.device_put(
        jax.tree.map(lambda x: x.astype(jnp.bfloat16), _params(0)),
        kd.sharding.REPLICATED,
    )
    state = _state(0).replace(params=everywhere)
    loaded = kd.ckpts.PartialKauldronLoader(saved).transform(state).params
    expected = jax.tree.map(lambda x: x.astype(jnp.bfloat16), _params(7))
    _assert_same(loaded, expected)
    assert loaded["pos"].sharding == kd.sharding.REPLICATED


def _with_resize(saved, resize, **kwargs):
    loader = kd.ckpts.PartialKauldronLoader(saved, resize=resize)
    return loader.transform(_state(0, **kwargs)).params


@pytest.mark.parametrize("num_classes", [2, 4])
def test_head_copies_what_overlaps(saved, num_classes):
    resize = {"head": kd.ckpts.CopyOverlap()}
    head = _with_resize(saved, resize, num_classes=num_classes)["head"]
    expected = np.array(_params(0, num_classes=num_classes)["head"]["kernel"])
    both = min(num_classes, 3)
    expected[:, :both] = _params(7)["head"]["kernel"][:, :both]
    np.testing.assert_array_equal(head["kernel"], expected)


def test_head_of_another_size_starts_anew(saved):
    params = _with_resize(saved, {"head": kd.ckpts.KeepInit()}, num_classes=4)
    _assert_same(params["head"], _params(0, num_classes=4)["head"])
    _assert_same(params["trunk"], _params(7)["trunk"])


def test_position_embeddings_are_interpolated(saved):
    """One class token and 2 x 2 places become one and 4 x 4; checked with NumPy."""
    resizer = kd.ckpts.InterpolatePositions(num_prefix_tokens=1)
    pos = _with_resize(saved, {"pos": resizer}, num_positions=17)["pos"]
    old = np.asarray(_params(7)["pos"])
    np.testing.assert_array_equal(pos[:, 0], old[:, 0])
    # Centres of the new places, in units of the old ones.
    at = (np.arange(4) + 0.5) / 2 - 0.5
    grid = old[0, 1:].reshape(2, 2, 2)
    rows = np.stack([np.interp(at, [0, 1], grid[:, j, 0]) for j in range(2)], axis=1)
    expected = np.stack([np.interp(at, [0, 1], row) for row in rows])
    np.testing.assert_allclose(pos[0, 1:, 0].reshape(4, 4), expected, rtol=1e-6)


def test_positions_of_a_sequence_are_interpolated():
    saved = np.arange(4.0, dtype=np.float32).reshape(4, 1)
    resizer = kd.ckpts.InterpolatePositions(is_grid=False)
    resized = resizer.resize(saved, np.zeros((8, 1), np.float32))
    at = (np.arange(8) + 0.5) / 2 - 0.5
    np.testing.assert_allclose(resized[:, 0], np.interp(at, range(4), saved[:, 0]))


def test_resized_values_take_the_dtype_and_sharding_of_the_run(saved):
    state = _state(0, num_classes=8)
    state = state.replace(
        params={
            **state.params,
            "head": {
                "kernel": jax.device_put(
                    jnp.zeros((2, 8), jnp.bfloat16), kd.sharding.REPLICATED
                ),
                "bias": jax.device_put(jnp.zeros(8), kd.sharding.FIRST_DIM),
            },
        }
    )
    loader = kd.ckpts.PartialKauldronLoader(
        saved, resize={"head": kd.ckpts.CopyOverlap()}
    )
    head = loader.transform(state).params["head"]
    assert head["kernel"].dtype == jnp.bfloat16
    assert head["bias"].sharding == kd.sharding.FIRST_DIM
    np.testing.assert_array_equal(head["bias"], [7, 8, 9, 0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"step": 4}, r"no step 4 in .*found steps \[3, 5\]"),
        ({"new_to_old": {}}, "`new_to_old` is empty"),
        ({"new_to_old": {"parms": "params"}}, "Did you mean 'params'"),
        ({"new_to_old": {"params.heed": "params.head"}}, "Did you mean 'params.head'"),
        ({"new_to_old": {"params.head": "params.hed"}}, "'params.hed.bias' is not in"),
        ({"new_to_old": {"params.*": "params"}}, "1 wildcards and 'params' has 0"),
        ({"new_to_old": {"re:params.(": "params"}}, "no regular expression"),
        ({"new_to_old": {"re:params.*": r"\3"}}, "a group that"),
        (
            {"new_to_old": {"params.head.bias": "step"}},
            r"int32\[\].*expected float32\[3\]",
        ),
        ({"ignore_model_keys": "head"}, "list of globs: got 'head'"),
    ],
)
def test_mistakes_are_told(saved, kwargs, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        _apply(kd.ckpts.PartialKauldronLoader(saved, **kwargs), _state(0))


@pytest.mark.parametrize(
    ("resizer", "message"),
    [
        (
            None,
            r"params\.pos: float32\[1, 5, 2\] in the checkpoint, expected float32\[1, 7",
        ),
        (kd.ckpts.InterpolatePositions(), "5 positions are no square"),
    ],
)
def test_other_shapes_are_told(saved, resizer, message):
    resize = {} if resizer is None else {"pos": resizer}
    with pytest.raises(kd.ckpts.CheckpointError, match=message):
        _with_resize(saved, resize, num_positions=7)


def test_mistyped_workdir_says_what_is_there_and_creates_nothing(saved, tmp_path):
    (tmp_path / "digits" / "checkpoints").mkdir(parents=True)
    before = sorted(tmp_path.rglob("*"))
    for bad, message in [
        (
            tmp_path / "digist",
            r"no workdir .*holds 'digits'. Did you mean .*/digits'\?",
        ),
        (tmp_path, "holds 'digits'. Did you mean .*digits'"),
        (tmp_path / "digits" / "checkpoints", "the folder that holds 'checkpoints'"),
    ]:
        with pytest.raises(FileNotFoundError, match=message):
            kd.ckpts.PartialKauldronLoader(bad).transform(_state(0))
        with pytest.raises(FileNotFoundError, match=message):
            kd.ckpts.SimpleCheckpointLoader(bad).transform(_state(0))
    assert sorted(tmp_path.rglob("*")) == before


def test_only_what_is_named_is_read(saved, monkeypatch):
    import orbax.checkpoint as ocp

    restored = []
    restore = ocp.PyTreeCheckpointHandler.restore

    def spy(self, directory, args):
        restored.extend(jax.tree.leaves(args.item))
        return restore(self, directory, args=args)

    monkeypatch.setattr(ocp.PyTreeCheckpointHandler, "restore", spy)
    kd.ckpts.PartialKauldronLoader(saved, {"params.pos": "params.pos"}).transform(
        _state(0)
    )
    assert [x.shape for x in restored if x is not ...] == [(1, 5, 2)]


def test_loaders_are_built_from_a_config():
    with konfig.mock_modules():
        cfg = kd.ckpts.MultiTransform(
            encoder=kd.ckpts.PartialKauldronLoader(
                workdir="runs/a",
                new_to_old={"params.encoder": "params.trunk"},
                resize={"pos": kd.ckpts.InterpolatePositions(is_grid=False)},
            ),
            rest=kd.ckpts.SimpleCheckpointLoader(workdir="runs/b"),
        )
    cfg.encoder.step = 4
    transform = konfig.resolve(cfg)
    with pytest.raises(FileNotFoundError, match="runs/a") as e:
        transform.transform(_state(0))
    assert "In the init transform 'encoder'." in e.value.__notes__
