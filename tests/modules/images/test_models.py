"""Models of images: sizes, keys, errors, gradients in bf16, warps, spectral norms."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage

from kauldron import kd, ktyping

_SMALL = functools.partial(kd.nn.UNet, num_classes=2, features=(4, 8, 8))


def shapes_of(model, *shape):
    image = jax.ShapeDtypeStruct(shape, jnp.float32)
    with kd.nn.set_train_property(True):
        outputs, _ = jax.eval_shape(
            model.init_with_output, {"params": jax.random.key(0)}, image
        )
    return jax.tree.map(lambda x: x.shape, outputs)


@pytest.mark.parametrize(
    ("model", "factor"),
    [
        (_SMALL(), (4, 4)),
        (_SMALL(kernel_size=(3, 3, 3), strides=((1, 2, 2), 2)), (2, 4, 4)),
        (_SMALL(kernel_size=(3,), strides=[4, 2]), (8,)),
        (kd.nn.ResidualUNet(num_classes=1), (16, 16)),
        (kd.nn.UNetPlusPlus(num_classes=1), (16, 16)),
        (kd.nn.MlpMixer(num_classes=1, patch_size=(8, 4)), (8, 4)),
    ],
)
def test_downsampling_factor_is_known_without_running(model, factor):
    assert model.downsampling_factor == factor


@pytest.mark.parametrize("up", ["transposed", "nearest", "linear"])
@pytest.mark.parametrize("down", ["conv", "max", "average"])
def test_logits_have_the_resolution_of_the_image(down, up):
    model = _SMALL(down=down, up=up, has_attention=True)
    assert shapes_of(model, 3, 8, 12, 1) == {"logits": (3, 8, 12, 2)}


def test_deep_supervision_adds_coarser_logits_from_fine_to_coarse():
    model = _SMALL(features=(2, 2, 2, 2), has_deep_supervision=True)
    assert shapes_of(model, 1, 16, 32, 1) == {
        "logits": (1, 16, 32, 2),
        "deep": [(1, 8, 16, 2), (1, 4, 8, 2)],
    }


def test_deep_supervision_of_nested_unets_is_of_full_resolution():
    model = kd.nn.UNetPlusPlus(
        num_classes=2, features=(2, 2, 2), has_deep_supervision=True
    )
    assert shapes_of(model, 8, 8, 1) == {"logits": (8, 8, 2), "deep": [(8, 8, 2)]}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_SMALL(), r"multiples of its `downsampling_factor`, \(4, 4\): got \(10, 12\)"),
        (_SMALL(), r"Pad to \(12, 12\)"),
        (_SMALL(strides=(2, 2, 2)), "each step between the 3 levels.*that is 2"),
        (_SMALL(strides=((2, 2, 2), 2)), "`strides` needs one value for each spatial"),
        (_SMALL(strides=(0, 2)), "`strides` must be positive"),
        (_SMALL(kernel_size=((3, 3), (3, 3))), "one kernel for each of the 3 levels"),
        (_SMALL(encoder_blocks=(1, 2)), "`encoder_blocks` needs one positive number"),
        (_SMALL(features=(4,)), "at least two levels, fine and coarse: got 1"),
        (_SMALL(features=()), "at least two levels, fine and coarse: got 0"),
        (_SMALL(features=16), "channels of each level.*such as .*: got 16"),
        (_SMALL(features=(8, 0)), r"positive and from fine to coarse.*got \(8, 0\)"),
        (_SMALL(num_classes=0), "`num_classes` must be positive: got 0"),
        (_SMALL(kernel_size=(2, 2)), r"must be odd.*got \(2, 2\)"),
        (_SMALL(kernel_size=3), r"such as \(3, 3\): got 3"),
        (kd.nn.UNetPlusPlus(num_classes=1, kernel_size=(3, 2)), "must be odd"),
        (kd.nn.ResidualUNet(num_classes=1, kernel_size=(2, 2)), "must be odd"),
        (kd.nn.ResidualUNet(num_classes=1, features=16), "channels of each level"),
        (_SMALL(down="mean"), "no method 'mean'. .*There are conv, max, average"),
        (_SMALL(up="linaer"), "no method 'linaer'. Did you mean 'linear'?"),
        (kd.nn.PatchDiscriminator(num_layers=4), "too small for 4 strided"),
        (kd.nn.Conv(3, (3, 3), feature_group_count=2), "must divide the channels"),
        (kd.nn.ConvTranspose(3, (2, 2), strides=3), "at least as large as its stride"),
    ],
)
def test_what_cannot_be_is_told_before_anything_is_computed(model, message):
    sizes = (10, 12) if "multiples" in message or "Pad" in message else (8, 12)
    with pytest.raises(ValueError, match=message):
        shapes_of(model, *sizes, 1)


def test_displacements_have_a_channel_for_each_axis():
    image, field = jnp.zeros((2, 4, 5, 1)), jnp.zeros((2, 4, 5, 3))
    with pytest.raises(ValueError, match=r"need 2 channels.*got 3, in \(2, 4, 5, 3\)"):
        kd.nn.SpatialTransformer().apply({}, image, field)


def test_an_image_with_too_few_axes_is_told():
    model = _SMALL(kernel_size=(3, 3, 3))
    with pytest.raises(ktyping.KTypeCheckError, match=r"shape `\*b d h w c`"):
        shapes_of(model, 8, 8, 1)


@pytest.mark.parametrize(
    "model",
    [
        _SMALL(is_residual=True, squeeze_ratio=0.5, has_attention=True),
        kd.nn.ResidualUNet(num_classes=1, features=(2, 2)),
        kd.nn.UNetPlusPlus(num_classes=1, features=(2, 2)),
        kd.nn.PatchDiscriminator(num_layers=1, has_spectral_norm=True),
        kd.nn.MlpMixer(num_classes=1, patch_size=(4, 4), features=2, num_layers=1),
    ],
    ids=lambda model: type(model).__name__,
)
def test_all_that_modules_return_can_be_recorded(model):
    methods = set()
    run = functools.partial(
        model.init,
        capture_intermediates=lambda _, method: methods.add(method) or True,
        mutable=True,
    )
    image = jax.ShapeDtypeStruct((8, 8, 1), jnp.float32)
    with kd.nn.set_train_property(True):
        jax.eval_shape(run, jax.random.key(0), image)  # arrays, no modules
    assert methods == {"__call__"}


def test_gradient_of_a_bias_in_bf16_is_the_sum_over_all_positions():
    conv = kd.nn.Conv(1, (1, 1), dtype=jnp.bfloat16)
    x = jnp.ones((8, 64, 64, 1))
    params = {"params": {"kernel": jnp.ones((1, 1, 1, 1)), "bias": jnp.zeros(1)}}

    def total(params):
        return conv.apply(params, x).astype(jnp.float32).sum()

    grads = jax.jit(jax.grad(total))(params)
    assert grads["params"]["bias"] == 8 * 64 * 64


@pytest.mark.parametrize("outside", ["edge", "zero"])
def test_warping_samples_as_scipy_does(outside):
    rng = np.random.default_rng(0)
    image = rng.standard_normal((5, 6, 7)).astype(np.float32)
    field = 3 * rng.standard_normal((5, 6, 7, 3)).astype(np.float32)
    warp = kd.nn.SpatialTransformer(3, outside=outside)
    y = jax.jit(functools.partial(warp.apply, {}))(image[..., None], field)
    at = np.stack(np.indices(image.shape)) + np.moveaxis(field, -1, 0)
    # SciPy's "constant" has no voxels half outside: zeros around are the same thing.
    mode = "nearest" if outside == "edge" else "grid-constant"
    expected = scipy.ndimage.map_coordinates(image, at, order=1, mode=mode)
    np.testing.assert_allclose(y[..., 0], expected, atol=1e-5)


def test_a_displacement_moves_content_by_voxels_against_it():
    image = jnp.zeros((8, 1)).at[5].set(1)
    warp = kd.nn.SpatialTransformer(1)
    y = jax.jit(functools.partial(warp.apply, {}))(image, jnp.full((8, 1), 2.0))
    np.testing.assert_array_equal(y[:, 0], np.eye(8)[3])


def test_integrating_a_linear_velocity_gives_its_exponential():
    # v(p) = A (p - c): the displacement after one unit of time is (expm(A) - 1)(p - c).
    matrix = np.array([[0.05, -0.2], [0.2, -0.1]], np.float32)
    centre = np.array([15.0, 15.0])
    p = np.moveaxis(np.indices((31, 31)), 0, -1) - centre
    image = p.astype(np.float32)  # what is warped: positions
    velocity = image @ matrix.T
    warp = kd.nn.SpatialTransformer(2, num_integration_steps=7)
    y = jax.jit(functools.partial(warp.apply, {}))(image, velocity)
    expected = p @ scipy.linalg.expm(matrix).T
    inner = np.s_[8:-8, 8:-8]  # seen from there, nothing is beyond the edges
    # The first of 128 steps is of Euler: error about |A|² |p| / 256.
    np.testing.assert_allclose(y[inner], expected[inner], atol=0.01)


def test_spectral_norm_divides_the_kernel_by_its_largest_singular_value():
    rng = np.random.default_rng(0)
    kernel = rng.standard_normal((3, 2, 4)).astype(np.float32)
    x = rng.standard_normal((5, 2)).astype(np.float32)
    conv = kd.nn.SpectralConv(4, (3,), use_bias=False)
    variables = {"params": {"kernel": kernel}, "batch_stats": {"u": jnp.ones(4)}}
    apply = functools.partial(conv.apply, mutable=["batch_stats"])
    with kd.nn.set_train_property(True):
        step = jax.jit(apply)
        for _ in range(100):
            y, updated = step(variables, x)
            variables = {**variables, **updated}
    plain = kd.nn.Conv(4, (3,), use_bias=False)
    divided = kernel / np.linalg.norm(kernel.reshape(6, 4), 2)
    expected = plain.apply({"params": {"kernel": divided}}, x)
    np.testing.assert_allclose(y, expected, rtol=1e-3, atol=1e-5)
    with kd.nn.set_train_property(False):
        same, unchanged = jax.jit(apply)(variables, x)
    np.testing.assert_allclose(same, y, rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(
        unchanged["batch_stats"]["u"], variables["batch_stats"]["u"]
    )
