"""Arrays of another shape: interpolated as `jax.image.resize` does, or by its formula."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kauldron import kd
from kauldron.sharding import TrainState

_RNG = np.random.default_rng(0)
_METHODS = ["linear", "cubic"]


@pytest.mark.parametrize("method", _METHODS)
@pytest.mark.parametrize(("old", "new", "prefix"), [(3, 5, 1), (5, 3, 2), (4, 4, 0)])
def test_grid_is_resized_as_an_image(method, old, new, prefix):
    saved = _RNG.normal(size=(2, prefix + old * old, 4)).astype(np.float32)
    init = np.zeros((2, prefix + new * new, 4), np.float32)
    resizer = kd.ckpts.InterpolatePositions(num_prefix_tokens=prefix, method=method)
    found = resizer.resize(saved, init)
    np.testing.assert_array_equal(found[:, :prefix], saved[:, :prefix])
    for b, d in itertools.product(range(2), range(4)):
        image = saved[b, prefix:, d].reshape(old, old)
        expected = jax.image.resize(image, (new, new), method)
        np.testing.assert_allclose(
            found[b, prefix:, d].reshape(new, new), expected, rtol=1e-5, atol=1e-6
        )


def _keys_cubic(x: np.ndarray) -> np.ndarray:
    """Keys 1981, with a = -0.5."""
    x = np.abs(x)
    near = 1.5 * x**3 - 2.5 * x**2 + 1
    far = -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    return np.where(x <= 1, near, np.where(x < 2, far, 0))


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.maximum(1 - np.abs(x), 0)


@pytest.mark.parametrize(
    ("method", "kernel"), [("linear", _triangle), ("cubic", _keys_cubic)]
)
@pytest.mark.parametrize(("old", "new"), [(6, 9), (9, 6)])
def test_sequence_is_resized_by_the_kernel_of_the_method(method, kernel, old, new):
    """Weights in f64: the kernel, as wide as the step when it shrinks, normalised."""
    saved = _RNG.normal(size=(old, 3)).astype(np.float32)
    at = (np.arange(new) + 0.5) * old / new - 0.5
    wide = max(old / new, 1.0)
    weights = kernel((at[:, None] - np.arange(old)) / wide)
    weights /= weights.sum(axis=1, keepdims=True)
    resizer = kd.ckpts.InterpolatePositions(is_grid=False, method=method)
    found = resizer.resize(saved, np.zeros((new, 3), np.float32))
    np.testing.assert_allclose(found, weights @ saved.astype(np.float64), atol=1e-5)


@pytest.mark.parametrize(
    ("saved", "init", "kwargs", "message"),
    [
        ((5, 3), (10, 4), {}, "changes the number of positions"),
        ((2, 4, 3), (9, 3), {}, "changes the number of positions"),
        ((2, 4, 3), (3, 9, 3), {}, "changes the number of positions"),
        ((4,), (9,), {}, "changes the number of positions"),
        ((5, 3), (9, 3), {}, "5 positions are no square"),
        ((4, 3), (10, 3), {}, "10 positions are no square"),
        ((1, 3), (10, 3), {"num_prefix_tokens": 1}, "0 positions are no square"),
        ((5, 3), (0, 3), {"num_prefix_tokens": 1}, "-1 positions are no square"),
    ],
)
def test_impossible_positions_are_told(saved, init, kwargs, message):
    resizer = kd.ckpts.InterpolatePositions(**kwargs)
    with pytest.raises(kd.ckpts.CheckpointError, match=message):
        resizer.resize(np.zeros(saved, np.float32), np.zeros(init, np.float32))


@pytest.mark.parametrize(
    ("old", "new"), [((3, 5), (4, 2)), ((4, 2), (3, 5)), ((3,), (3,))]
)
def test_overlap_is_copied_and_the_rest_is_initial(old, new):
    saved = _RNG.normal(size=old).astype(np.float32)
    init = _RNG.normal(size=new).astype(np.float32)
    before = init.copy()
    found = kd.ckpts.CopyOverlap().resize(saved, init)
    for index in np.ndindex(*new):
        is_saved = all(i < n for i, n in zip(index, old, strict=True))
        assert found[index] == (saved if is_saved else init)[index]
    np.testing.assert_array_equal(init, before)


def test_overlap_needs_as_many_axes():
    with pytest.raises(kd.ckpts.CheckpointError, match=r"\(2,\) .*\(2, 3\)"):
        kd.ckpts.CopyOverlap().resize(np.zeros(2), np.zeros((2, 3)))


def test_resized_values_that_are_too_large_are_refused(tmp_path):
    with kd.ckpts.Checkpointer(workdir=tmp_path, save_interval_steps=1) as checkpointer:
        checkpointer.save({"params": {"w": jnp.full(2, 1e6)}}, step=0)
    loader = kd.ckpts.PartialKauldronLoader(
        tmp_path, {"params": "params"}, resize={"w": kd.ckpts.CopyOverlap()}
    )
    state = TrainState(step=0, params={"w": jnp.zeros(3, jnp.float16)})
    with pytest.raises(kd.ckpts.CheckpointError, match=r"params\.w: 2 of 3 numbers"):
        loader.transform(state)
    state = TrainState(step=0, params={"w": jnp.zeros(3, jnp.int32)})
    with pytest.raises(kd.ckpts.CheckpointError, match=r"params\.w: float32\[2\]"):
        loader.transform(state)
