"""Arrays that are turned while they are loaded, such as kernels of PyTorch."""

from __future__ import annotations

import copy
import dataclasses
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd, konfig
from kauldron.sharding import TrainState

_RNG = np.random.default_rng(0)


def _state(params, **fields):
    return TrainState(step=jnp.int32(0), params=params, collections={}, **fields)


@pytest.fixture(scope="module")
def torch_file(tmp_path_factory):
    """As PyTorch writes a linear layer, a square one, a convolution, an embedding."""
    path = tmp_path_factory.mktemp("torch") / "model.safetensors"
    arrays = {
        "fc.weight": _RNG.normal(size=(4, 3)).astype(np.float32),
        "fc.bias": _RNG.normal(size=4).astype(np.float32),
        "square.weight": _RNG.normal(size=(3, 3)).astype(np.float32),
        "conv.weight": _RNG.normal(size=(5, 2, 3, 1)).astype(np.float32),
        "emb.weight": _RNG.normal(size=(3, 3)).astype(np.float32),
    }
    kd.ckpts.save_safetensors(arrays, path)
    return path, arrays


_RULES = {
    "params.fc.kernel": "fc.weight",
    "params.fc.bias": "fc.bias",
    "params.square.kernel": "square.weight",
    "params.conv.kernel": "conv.weight",
    "params.emb.embedding": "emb.weight",
}


def _blank():
    return {
        "fc": {"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)},
        "square": {"kernel": jnp.zeros((3, 3))},
        "conv": {"kernel": jnp.zeros((3, 1, 2, 5))},
        "emb": {"embedding": jnp.zeros((3, 3))},
    }


def test_layers_of_pytorch_compute_the_same_here(torch_file):
    path, arrays = torch_file
    loader = kd.ckpts.SafetensorsLoader(
        path, _RULES, transform={"kernel": kd.ckpts.TorchKernel()}
    )
    params = loader.transform(_state(_blank())).params
    x = _RNG.normal(size=(2, 3)).astype(np.float32)
    for name, features in [("fc", 4), ("square", 3)]:
        bias = params[name].get("bias", jnp.zeros(features))
        layer = {"kernel": params[name]["kernel"], "bias": bias}
        found = nn.Dense(features).apply({"params": layer}, x)
        expected = x @ arrays[f"{name}.weight"].T + np.asarray(bias)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    # A convolution by hand: sum over height, width and input channels of one place.
    image = _RNG.normal(size=(1, 3, 1, 2)).astype(np.float32)
    conv = nn.Conv(5, (3, 1), padding="VALID", use_bias=False)
    found = conv.apply({"params": params["conv"]}, image)
    expected = np.einsum("hwi,oihw->o", image[0], arrays["conv.weight"])
    np.testing.assert_allclose(found[0, 0, 0], expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(params["emb"]["embedding"], arrays["emb.weight"])


@pytest.mark.parametrize(
    ("new", "old", "shape"),
    [("square.kernel", "square.weight", (3, 3)), ("conv.kernel", "conv.weight", None)],
)
def test_square_kernel_is_not_taken_in_silence(torch_file, tmp_path, new, old, shape):
    path, _ = torch_file
    if shape is None:  # a convolution whose sizes are all the same
        shape = (3, 3, 3, 3)
        path = tmp_path / "x.safetensors"
        kd.ckpts.save_safetensors({old: np.ones(shape, np.float32)}, path)
    name, _ = new.split(".")
    state = _state({name: {"kernel": jnp.zeros(shape)}})
    rules = {f"params.{new}": old}
    with pytest.raises(
        kd.ckpts.CheckpointError, match=f"'{old}' fits as it is and turned"
    ) as e:
        kd.ckpts.SafetensorsLoader(path, rules).transform(state)
    axes = tuple(range(len(shape)))
    for advice in ("kd.ckpts.TorchKernel()", f"kd.ckpts.Transpose(axes={axes})"):
        assert advice in str(e.value)
    as_it_is = {"kernel": kd.ckpts.Transpose(axes=axes)}
    loader = kd.ckpts.SafetensorsLoader(path, rules, transform=as_it_is)
    np.testing.assert_array_equal(
        loader.transform(state).params[name]["kernel"],
        kd.ckpts.SafetensorsFiles(path)[old],
    )


def test_kernel_that_fits_one_way_only_needs_no_word(tmp_path):
    path = tmp_path / "x.safetensors"
    value = _RNG.normal(size=(3, 4)).astype(np.float32)
    kd.ckpts.save_safetensors(
        {"fc.weight": value, "square.kernel": value @ value.T}, path
    )
    rules = {"params.fc.kernel": "fc.weight", "params.square.kernel": "square.kernel"}
    state = _state(
        {"fc": {"kernel": jnp.zeros((3, 4))}, "square": {"kernel": jnp.zeros((3, 3))}}
    )
    loaded = kd.ckpts.SafetensorsLoader(path, rules).transform(state).params
    np.testing.assert_array_equal(loaded["fc"]["kernel"], value)
    np.testing.assert_array_equal(loaded["square"]["kernel"], value @ value.T)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    saved = TrainState(
        step=jnp.int32(3),
        params={"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.arange(4.0)},
        collections={},
        opt_state={"mu": {"w": 10 + jnp.arange(6.0).reshape(2, 3)}},
    )
    with kd.ckpts.Checkpointer(workdir=workdir, save_interval_steps=1) as checkpointer:
        checkpointer.save(saved, step=3)
    return workdir


def _load(run, transform, *, params, rules=None, **kwargs):
    loader = kd.ckpts.PartialKauldronLoader(
        run,
        rules or {"params": "params"},
        transform=transform,
        ignore_restored_keys=["b", "w"],
        **kwargs,
    )
    return loader.transform(_state(params)).params


def test_first_glob_that_matches_decides_and_dtype_and_placement_are_the_runs(run):
    blank = jax.device_put(jnp.zeros((3, 2), jnp.bfloat16), kd.sharding.REPLICATED)
    transform = {"params.w": np.transpose, "**": lambda x: x * 100}
    loaded = _load(run, transform, params={"w": blank, "b": jnp.zeros(4)})
    assert (loaded["w"].dtype, loaded["w"].sharding) == (blank.dtype, blank.sharding)
    np.testing.assert_array_equal(loaded["w"], np.arange(6).reshape(2, 3).T)
    np.testing.assert_array_equal(loaded["b"], 100 * np.arange(4))


def test_transformed_array_is_resized_afterwards(run):
    params = {"w": jnp.zeros((3, 4))}
    resize = {"w": kd.ckpts.CopyOverlap()}
    loaded = _load(run, {"w": np.transpose}, params=params, resize=resize)["w"]
    np.testing.assert_array_equal(loaded[:, :2], np.arange(6).reshape(2, 3).T)
    np.testing.assert_array_equal(loaded[:, 2:], 0)


def test_state_of_the_optimizer_is_turned_when_it_is_there(run):
    loader = kd.ckpts.PartialKauldronLoader(
        run,
        {"params.w": "params.w", "opt_state": "opt_state"},
        transform={"w": np.transpose, "opt_state.mu.*": np.transpose},
    )
    state = _state({"w": jnp.zeros((3, 2))}, opt_state=None)
    state = loader.transform(state).replace(opt_state={"mu": {"w": jnp.zeros((3, 2))}})
    state = loader.transform_after_optimizer(state)
    np.testing.assert_array_equal(state.params["w"], np.arange(6).reshape(2, 3).T)
    np.testing.assert_array_equal(state.opt_state["mu"]["w"], state.params["w"] + 10)


def test_rule_for_anything_is_one_for_the_optimizer_too(run):
    loader = kd.ckpts.PartialKauldronLoader(run, {"re:(.*)": r"\1"})
    state = _state({"w": jnp.zeros((2, 3)), "b": jnp.zeros(4)}, opt_state=None)
    state = loader.transform(state).replace(opt_state={"mu": {"w": jnp.zeros((2, 3))}})
    state = loader.transform_after_optimizer(state)
    assert int(state.step) == 3
    np.testing.assert_array_equal(state.opt_state["mu"]["w"], state.params["w"] + 10)


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (
            {"w": kd.ckpts.Transpose(axes=(0, 1))},
            r"params\.w: after `transform`, float32\[2, 3\] .* expected float32\[3, 2\]",
        ),
        ({"w": lambda x: x.T.astype(np.int32)}, r"params\.w: after `transform`, int32"),
        (
            {"w": lambda x: x.T.astype(np.float64) * 1e39},
            r"params\.w: 5 of 6 numbers of float64",
        ),
        ({"wo": np.transpose}, r"`transform`: nothing in this run is called 'wo'"),
        ({"params.ww": np.transpose}, r"'params\.ww'. Did you mean 'params\.w'\?"),
        ({"w": kd.ckpts.Transpose(axes=(0, 2))}, r"axes=\(0, 2\).*shape \(2, 3\)"),
        ({"w": kd.ckpts.Transpose(axes=(0,))}, r"axes=\(0,\).*shape \(2, 3\)"),
    ],
)
def test_what_does_not_fit_is_told_with_the_leaf(run, transform, message):
    with pytest.raises(ValueError, match=message):
        _load(run, transform, params={"w": jnp.zeros((3, 2))})


def test_error_of_a_function_names_the_leaf(run):
    def fail(saved):
        raise ZeroDivisionError("no")

    with pytest.raises(ZeroDivisionError) as e:
        _load(run, {"w": fail}, params={"w": jnp.zeros((3, 2))})
    assert e.value.__notes__ == ["In `transform`, for 'params.w', of float32[2, 3]."]


def test_kernel_of_one_axis_is_no_kernel():
    with pytest.raises(kd.ckpts.CheckpointError, match=r"\[out, in, \.\.\.\].*\(3,\)"):
        kd.ckpts.TorchKernel()(np.zeros(3))


def test_unknown_glob_of_resize_is_an_error_too(run):
    with pytest.raises(kd.ckpts.CheckpointError, match=r"`resize`.*'ww'.*mean 'w'"):
        _load(
            run,
            {},
            params={"w": jnp.zeros((2, 3))},
            resize={"ww": kd.ckpts.CopyOverlap()},
        )


def test_loaders_stay_plain_values(run):
    transform = {"w": kd.ckpts.Transpose(axes=(1, 0))}
    loader = kd.ckpts.PartialKauldronLoader(run, transform=transform)
    assert loader == kd.ckpts.PartialKauldronLoader(run, transform=dict(transform))
    assert loader != kd.ckpts.PartialKauldronLoader(run)
    changed = dataclasses.replace(loader, new_to_old={"params.w": "params.w"})
    for same in (changed, copy.deepcopy(changed)):
        loaded = same.transform(_state({"w": jnp.zeros((3, 2))})).params["w"]
        np.testing.assert_array_equal(loaded, np.arange(6).reshape(2, 3).T)
    assert "transform={'w': Transpose(axes=(1, 0))}" in repr(loader)
    for kind in (loader, kd.ckpts.SimpleCheckpointLoader(run)):
        kind.close()


def test_transforms_are_written_in_a_config(run):
    with konfig.imports():
        from kauldron import kd as lazy_kd
    cfg = lazy_kd.ckpts.PartialKauldronLoader(
        workdir=str(run),
        new_to_old={"params.w": "params.w"},
        transform={"w": lazy_kd.ckpts.Transpose(axes=(0, 1))},
    )
    cfg.transform["w"].axes = (1, 0)
    as_read = json.loads(cfg.to_json())
    loaded = konfig.resolve(as_read).transform(_state({"w": jnp.zeros((3, 2))}))
    np.testing.assert_array_equal(loaded.params["w"], np.arange(6).reshape(2, 3).T)


def test_published_methods_of_checkpointers(tmp_path):
    state = {"w": jnp.ones(2)}
    with kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=5) as checkpointer:
        assert not checkpointer.maybe_save(state, step=3)
        assert checkpointer.maybe_save(state, step=5)
        assert checkpointer.maybe_save(state, step=7, force=True)
        checkpointer.wait_until_finished()
        assert list(checkpointer.all_steps) == [5, 7]
        steps = checkpointer.iter_new_checkpoints(seconds_to_sleep=0.01, timeout=0)
        assert list(steps) == [7]
    noop = kd.ckpts.NoopCheckpointer()
    noop.reload()
    assert list(noop.iter_new_checkpoints()) == []
    assert not noop.maybe_save(state, step=0)
    with pytest.raises(ValueError, match="saves nothing"):
        noop.maybe_save(state, step=0, force=True)
