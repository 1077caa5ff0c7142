"""Registration: fields, their inverse, volume change, points; against SciPy, by hand."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from kauldron import kd, konfig

_SHAPE = (6, 8, 10)


class _Nothing(nn.Module):
    """A network of which only the bias of the last convolution is left."""

    @nn.compact
    def __call__(self, images):
        return {"logits": jnp.zeros_like(images)}


def _model(**kwargs):
    return kd.nn.Registration(network=_Nothing(), **kwargs)


def _moved_by(velocity, model, *images):
    """What the model gives if its velocity is the same everywhere."""
    params = {"flow": {"kernel": jnp.zeros((3, 3, 3, 2, 3)), "bias": velocity}}
    return jax.jit(model.apply)({"params": params}, *images)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.standard_normal((2, 2, *_SHAPE, 1)).astype(np.float32)


def test_the_warped_image_is_the_moving_one_at_displaced_voxels(images):
    moving, fixed = images
    points = np.float32([[[1, 2, 3], [0.5, 1.5, 2.25]]] * 2)
    velocity = jnp.array([1.0, 0.5, -0.25])
    preds = _moved_by(velocity, _model(), moving, fixed, points)
    # What is constant stays so along the way.
    np.testing.assert_allclose(
        preds["field"], np.broadcast_to(velocity, (2, *_SHAPE, 3)), rtol=1e-6
    )
    np.testing.assert_allclose(preds["inverse_field"], -preds["field"], rtol=1e-6)
    np.testing.assert_allclose(preds["jacobian"], 1, atol=1e-5)
    np.testing.assert_allclose(preds["points"], points + np.array(velocity), atol=1e-5)
    at = np.indices(_SHAPE) + np.array(velocity)[:, None, None, None]
    for i in range(2):
        expected = scipy.ndimage.map_coordinates(
            moving[i, ..., 0], at, order=1, mode="nearest"
        )
        np.testing.assert_allclose(preds["warped"][i, ..., 0], expected, atol=1e-5)


def test_a_velocity_on_a_coarser_grid_is_in_voxels_of_that_grid(images):
    model = _model(strides=(1, 2, 2))
    preds = _moved_by(jnp.array([1.0, 1.0, -0.5]), model, *images)
    assert preds["velocity"].shape == (2, 6, 4, 5, 3)
    assert preds["field"].shape == (2, *_SHAPE, 3)
    np.testing.assert_allclose(preds["field"][0, 3, 4, 5], [1, 2, -1], rtol=1e-6)
    assert "points" not in preds


def test_before_training_nothing_moves(images):
    moving, fixed = images
    network = kd.nn.UNet(
        num_classes=4,
        features=(4, 4),
        kernel_size=(3, 3, 3),
        encoder_blocks=1,
        decoder_blocks=1,
    )
    model = kd.nn.Registration(network=network)
    preds, variables = jax.jit(model.init_with_output)(jax.random.key(0), moving, fixed)
    assert variables["params"].keys() == {"network", "flow"}
    assert 0 < abs(preds["field"]).max() < 0.01
    np.testing.assert_allclose(preds["warped"], moving, atol=0.02)


def test_the_two_fields_of_a_velocity_undo_each_other():
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((24, 24, 24, 3))
    smooth = scipy.ndimage.gaussian_filter(noise, (4, 4, 4, 0))
    velocity = np.float32(3 * smooth / abs(smooth).max())
    integrate = jax.jit(kd.nn.integrate_velocity)
    there, back = (np.array(integrate(sign * velocity)) for sign in (1, -1))
    assert abs(there).max() > 2
    points = np.float32(np.moveaxis(np.indices((24,) * 3), 0, -1)[6:-6, 6:-6, 6:-6])
    points = points.reshape(-1, 3)
    moved = kd.nn.move_points(points, there)
    # A hundredth of a voxel is what interpolation leaves; the first order, which is to
    # change the sign of the displacement, leaves more than ten times as much.
    returned = kd.nn.move_points(moved, back)
    assert np.abs(returned - points).max() < 0.02
    assert np.abs(kd.nn.move_points(moved, -there) - points).max() > 0.2
    # All of space is moved, nothing folded.
    assert kd.nn.jacobian_determinant(there).min() > 0


def test_points_between_voxels_are_moved_as_scipy_interpolates():
    rng = np.random.default_rng(0)
    field = rng.standard_normal((5, 6, 2)).astype(np.float32)
    points = rng.uniform(-1, 6, (3, 2)).astype(np.float32)  # some of them outside
    moved = kd.nn.move_points(points, field)
    for axis in range(2):
        by_scipy = scipy.ndimage.map_coordinates(
            field[..., axis], points.T, order=1, mode="nearest"
        )
        np.testing.assert_allclose(
            moved[:, axis], points[:, axis] + by_scipy, rtol=1e-5
        )


@pytest.mark.parametrize(
    ("matrix", "determinant"),
    [
        (np.eye(3), 1.0),
        (np.diag([2.0, 0.5, 1.5]), 1.5),
        (np.array([[1.0, 0.3, 0], [0, 1, 0], [0, 0, 1]]), 1.0),  # shear
        (np.diag([-1.0, 1, 1]), -1.0),  # a mirror folds space
    ],
)
def test_jacobian_of_a_linear_map_is_its_determinant(matrix, determinant):
    p = np.moveaxis(np.indices((3, 4, 5)), 0, -1)
    field = np.float32(p @ matrix.T - p)
    found = kd.nn.jacobian_determinant(jnp.stack([field, field]))
    assert found.shape == (2, 3, 4, 5)
    np.testing.assert_allclose(found, determinant, atol=1e-5)


def test_what_does_not_fit_is_told(images):
    moving, fixed = images
    with pytest.raises(ValueError, match=r"multiples of its `strides`, \(4, 4, 4\)"):
        jax.eval_shape(_model(strides=4).init, jax.random.key(0), moving, fixed)
    shrinking = kd.nn.Registration(network=kd.nn.Conv(4, (2, 2, 2), strides=2))
    with pytest.raises(ValueError, match="features of the positions that it sees"):
        jax.eval_shape(shrinking.init, jax.random.key(0), moving, fixed)


def test_a_config_names_images_and_points_by_keys():
    with konfig.imports():
        from kauldron import kd as lazy_kd
    cfg = lazy_kd.nn.Registration(
        network=lazy_kd.nn.UNet(num_classes=8),
        moving="batch.moving",
        fixed="batch.fixed",
        points="batch.points",
    )
    model = konfig.resolve(cfg)
    assert kd.kontext.get_keypaths(model) == {
        "moving": "batch.moving",
        "fixed": "batch.fixed",
        "points": "batch.points",
    }
