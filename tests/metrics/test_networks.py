"""LPIPS and FID: the networks, their weights, and what is said where there are none."""

from __future__ import annotations

import os

import jax
import numpy as np
import pytest
from scipy import linalg

from kauldron import errors, metrics
from kauldron.metrics import _inception, networks
from tests.metrics import contract, tiny_networks

_rng = np.random.default_rng(0)
_pair = {"pred": "p", "target": "t"}
_images = ("pred", "target")


def _lpips(m, pred, target):
    state = tiny_networks.vgg_state_dict(np.random.default_rng(0))
    pred, target = (2 * np.moveaxis(x, -1, 1) - 1 for x in (pred, target))
    weights = None if m is None else m[:, 0]
    return np.average(tiny_networks.numpy_lpips(state, pred, target), weights=weights)


CASES = [
    contract.Case(
        metrics.LpipsVgg(weights=tiny_networks.vgg_file(), **_pair),
        lambda rng, n: {k: rng.random((n, 16, 17, 3), np.float32) for k in _images},
        _lpips,
        f32_rtol=1e-4,  # small differences of vectors of length 1
    ),
]


@contract.laws(CASES)
class TestContract:
    pass


@pytest.fixture(scope="module")
def inception():
    """The small network in NumPy, its weights as ours, 75 x 75 images, their features."""
    network = tiny_networks.NumpyInception(np.random.default_rng(0))
    images = np.random.default_rng(1).uniform(-1, 1, (2, 75, 77, 3))
    images[1] *= np.linspace(0, 1, 77)[:, None]
    features = network(np.moveaxis(images, -1, 1))
    return networks.convert_inception(network.state), images, features, network.state


def test_vgg_distance_equals_a_plain_numpy_network():
    state = tiny_networks.vgg_state_dict(np.random.default_rng(0))
    pred, target = _rng.uniform(-1, 1, (2, 2, 3, 20, 17, 3))
    flat = [np.moveaxis(x.reshape(6, 20, 17, 3), -1, 1) for x in (pred, target)]
    expected = tiny_networks.numpy_lpips(state, *flat).reshape(2, 3, 1)
    weights = networks.convert_lpips_vgg(state)
    lpips = jax.jit(networks.lpips_vgg, compiler_options=contract.COMPILE_FAST)
    with jax.enable_x64(True):
        value = lpips(weights, pred, target)
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_weights_of_torchvision_and_lpips_together_are_the_same():
    state = tiny_networks.vgg_state_dict(np.random.default_rng(0))
    renamed = {
        "features." + name.split(".", 2)[2] if name.startswith("net.") else name: x
        for name, x in state.items()
    }
    renamed["classifier.0.weight"] = np.zeros((2, 2))
    a, b = map(networks.convert_lpips_vgg, (state, renamed))
    assert a.keys() == b.keys()
    assert all((a[name] == b[name]).all() for name in a)


def test_inception_features_equal_a_plain_numpy_network(inception):
    weights, images, expected, _ = inception
    with jax.enable_x64(True):
        features = jax.jit(
            _inception.pool_features, compiler_options=contract.COMPILE_FAST
        )
        value = features(weights, images)
    assert expected.shape == (2, 12)
    assert (expected.std(axis=0) > 1e-2).mean() > 0.5  # the images are told apart
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_images_are_resized_as_by_linear_interpolation(monkeypatch):
    # Pixels are squares: centres at 0.5, 1.5, ...; beyond the outer ones they go on.
    seen = {}
    monkeypatch.setattr(
        _inception,
        "pool_features",
        lambda weights, x: seen.setdefault("x", x).mean((1, 2)),
    )
    images = _rng.uniform(-1, 1, (2, 5, 400, 1))
    with jax.enable_x64(True):
        networks.inception_features({}, images)
    rows, columns = ((np.arange(299) + 0.5) * n / 299 - 0.5 for n in (5, 400))
    expected = np.apply_along_axis(
        lambda x: np.interp(rows, np.arange(5), x), 1, images[..., 0]
    )
    expected = np.apply_along_axis(
        lambda x: np.interp(columns, np.arange(400), x), 2, expected
    )
    np.testing.assert_allclose(seen["x"][..., 2], expected, atol=1e-9)


@pytest.mark.parametrize("mask", [None, np.array([1, 0, 1, 1, 1, 1])])
def test_fid_is_the_frechet_distance_of_features(monkeypatch, tmp_path, mask):
    # Of a smaller network, whose features can be had by hand: means of quarters.
    def quarters(weights, x):
        del weights
        x = x[:, :298, :298].reshape(len(x), 2, 149, 2, 149, 3).mean((2, 4))
        return x.reshape(len(x), -1)[:, :4]

    monkeypatch.setattr(_inception, "pool_features", quarters)
    path = tmp_path / "weights.npz"
    networks.save(path, dict.fromkeys(_inception.NAMES, np.zeros(1)))
    images = _rng.uniform(0, 255, (2, 6, 299, 299, 3)).astype(np.float32)
    metric = metrics.Fid(in_vrange=(0, 255), weights=path, **_pair)
    states = [
        metric.get_state(pred=p, target=t, mask=m)
        for p, t, m in [
            (images[0, s], images[1, s], None if mask is None else mask[s])
            for s in (slice(2), slice(2, 6))
        ]
    ]
    value = states[0].merge(states[1]).compute()
    keep = np.ones(6, bool) if mask is None else mask == 1
    a, b = (quarters({}, x[keep] / 127.5 - 1.0).astype(np.float64) for x in images)
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = linalg.sqrtm(c1 @ c2).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(c1 + c2 - 2 * root)
    # f32 means of 22,000 pixels near 0
    np.testing.assert_allclose(value, expected, rtol=1e-3)


@pytest.mark.parametrize("metric", [metrics.LpipsVgg, metrics.Fid])
def test_missing_weights_are_an_error_that_says_what_to_pass(metric, tmp_path):
    images = np.zeros((1, 16, 16, 3), np.float32)
    for path, seen in [(None, "needs the weights"), (tmp_path / "no.npz", "no.npz")]:
        with pytest.raises(FileNotFoundError, match=seen) as error:
            metric(weights=path, **_pair).get_state(pred=images, target=images)
        assert isinstance(error.value, errors.UserError)
        assert "Pass `weights=`" in str(error.value)
        assert "kd.metrics.networks.convert_" in str(error.value)


def test_wrong_weights_are_an_error_that_says_what_is_missing(tmp_path):
    images = np.zeros((1, 16, 16, 3), np.float32)
    path = tmp_path / "weights.npz"
    metric = metrics.LpipsVgg(weights=path, **_pair)
    networks.save(path, {"conv1_1.kernal": np.zeros(1)})
    with pytest.raises(ValueError, match=r"'conv1_1.kernel' and 30 more.*Did you mean"):
        metric.get_state(pred=images, target=images)
    path.write_bytes(b"not a file of arrays")
    os.utime(path, (1, 1))
    with pytest.raises(networks.WeightsError, match=r"is no `\.npz` file of arrays"):
        metric.get_state(pred=images, target=images)


def test_incomplete_state_dict_is_refused(inception):
    *_, state = inception
    state = {k: v for k, v in state.items() if k != "Mixed_7c.branch_pool.bn.bias"}
    with pytest.raises(
        networks.WeightsError, match=r"'Mixed_7c\.branch_pool\.bn\.bias'"
    ):
        networks.convert_inception(state)
    with pytest.raises(networks.WeightsError, match=r"'conv1_1\.kernel' and 30 more"):
        networks.convert_lpips_vgg({})


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 15, 20, 3), "at least 16 x 16"),
        ((1, 16, 16, 2), "1 or 3 channels"),
        ((16, 16), "needs images"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_what_is_no_image_is_refused(shape, message):
    metric = metrics.LpipsVgg(weights=tiny_networks.vgg_file(), **_pair)
    with pytest.raises(ValueError, match=message):
        metric.get_state(pred=np.zeros(shape), target=np.zeros(shape))


def test_grey_images_are_seen_as_colours():
    metric = metrics.LpipsVgg(weights=tiny_networks.vgg_file(), **_pair)
    pred, target = _rng.random((2, 1, 16, 16, 1)).astype(np.float32)
    measure = jax.jit(
        lambda p, t: metric.get_state(pred=p, target=t).mean(),
        compiler_options=contract.COMPILE_FAST,
    )
    gray = measure(pred, target)
    colour = measure(pred.repeat(3, -1), target.repeat(3, -1))
    np.testing.assert_allclose(gray, colour, rtol=1e-6)


def test_weights_are_read_once(monkeypatch):
    metric = metrics.LpipsVgg(weights=tiny_networks.vgg_file(), **_pair)
    images = np.zeros((1, 16, 16, 3), np.float32)

    def trace():
        return jax.eval_shape(lambda x: metric.get_state(pred=x, target=x), images)

    trace()
    monkeypatch.delattr(np, "load")
    trace()
