"""Landmarks stay where they are in the world, and voxels are those of SimpleITK."""

import numpy as np
import PIL.Image
import pytest
import scipy.spatial
import SimpleITK as sitk

from kauldron import kd

T = kd.volumes.transforms
Geometry = kd.volumes.Geometry

# Oblique: turned about an axis that is none of the volume's.
_DIRECTION = scipy.spatial.transform.Rotation.from_rotvec((0.3, -0.2, 0.4)).as_matrix()
_DIRECTION = _DIRECTION[:, ::-1]
_GRID = Geometry.make((1.5, 1.0, 1.2), (3, -4, 5), _DIRECTION)
_OTHER = Geometry.make((1.1, 1.3, 0.9), _GRID.to_world((0.7, -0.6, 1.1)))


def _blob(shape, center, width):
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    distance = np.square((index - center) / width).sum(-1)
    return np.exp(-distance / 2)[..., None].astype(np.float32)


def _centroid(x, geometry):
    index = np.stack(np.meshgrid(*map(np.arange, x.shape[:3]), indexing="ij"), -1)
    weight = x / x.sum(dtype=np.float64)
    return geometry.to_world((index * weight).sum(axis=(0, 1, 2), dtype=np.float64))


@pytest.mark.parametrize(
    "transform",
    [
        T.Flip(axes=(0, 2)),
        T.Permute(order=(2, 0, 1)),
        T.Pad(before=(1, 2, 3), after=2),
        T.Pad(min_shape=40, multiple_of=16),
        T.Crop(size=(20, 19, 22)),
        T.Reorient(to="IAR"),
        T.Resample(spacing_mm=(1.0, 1.4, 0.8)),
        T.Resample(spacing_mm=0.9, order=3),
        T.Resample(shape=(20, 31, 25)),
        T.Resample(shape=(12, 14, 13), anti_alias=True),
        T.Resample(shape=(40, 40, 40), geometry=_OTHER.moved((-5, -8, -5))),
        T.Chain([T.Flip(axes=1), T.Resample(spacing_mm=1.3), T.Pad(before=2)]),
    ],
    ids=lambda t: type(t).__name__,
)
def test_the_centroid_of_a_blob_stays_in_the_world_and_comes_back(transform):
    x = _blob((24, 25, 26), (11.3, 12.1, 13.4), 1.6)
    expected = _centroid(x, _GRID)

    moved, geometry, undo = transform.forward(x, _GRID)
    back, old_geometry = transform.inverse(moved, geometry, undo)

    # A blob of 1.6 voxels is not perfectly sampled by a coarser grid.
    np.testing.assert_allclose(_centroid(moved, geometry), expected, atol=0.02)
    np.testing.assert_allclose(_centroid(back, old_geometry), expected, atol=0.02)
    assert back.shape == x.shape and old_geometry.is_close(_GRID)


def _itk(x, geometry):
    image = sitk.GetImageFromArray(x[..., 0])
    image.SetSpacing(geometry.spacing_mm[::-1].tolist())
    image.SetOrigin(geometry.origin.tolist())
    image.SetDirection(geometry.direction[:, ::-1].ravel().tolist())
    return image


@pytest.mark.parametrize("along", [True, False], ids=["along the axes", "oblique"])
@pytest.mark.parametrize(
    ("order", "interpolator"),
    [(0, sitk.sitkNearestNeighbor), (1, sitk.sitkLinear), (3, sitk.sitkBSpline)],
)
def test_resampled_voxels_are_those_of_simpleitk(order, interpolator, along):
    x = np.random.default_rng(0).normal(size=(11, 13, 9, 1)).astype(np.float32)
    grid = _GRID
    target = _OTHER
    if along:
        origin = _GRID.to_world((-1.3, 2.1, -0.7))
        target = Geometry.make((0.83, 1.37, 0.91), origin, _DIRECTION)
    shape = (12, 10, 14)

    ours, _, _ = T.Resample(shape=shape, geometry=target, order=order, fill=-7).forward(
        x, grid
    )
    theirs = sitk.Resample(
        _itk(x, grid),
        _itk(np.zeros((*shape, 1), np.float32), target),
        sitk.Transform(),
        interpolator,
        -7.0,
    )

    assert 0.1 < (ours == -7).mean() < 0.9
    # Rounding of sums of at most 64 terms of size 1, in f32.
    np.testing.assert_allclose(ours[..., 0], sitk.GetArrayFromImage(theirs), atol=2e-6)


def test_anti_aliased_shrinking_is_that_of_pillow():
    x = np.random.default_rng(0).normal(size=(1, 13, 9, 1)).astype(np.float32)

    ours, _, _ = T.Resample(shape=(1, 13, 4), anti_alias=True).forward(x, _GRID)

    image = PIL.Image.fromarray(x[0, ..., 0])
    theirs = np.asarray(image.resize((4, 13), PIL.Image.Resampling.BILINEAR))
    np.testing.assert_allclose(ours[0, ..., 0], theirs, atol=1e-6)


def test_integers_are_rounded_and_kept_within_their_type():
    x = np.array([0, 1, 3], np.int16).reshape(1, 1, 3)

    # Voxels lie at -1/4, 1/4, 3/4, 5/4, 7/4, 9/4: 0, .25, .75, 1.5, 2.5, 3, half to even.
    y, _, _ = T.Resample(shape=(1, 1, 6)).forward(x, Geometry.make())
    sharp = np.array([0, 0, 255, 255, 0, 0], np.uint8).reshape(1, 1, 6)
    z, _, _ = T.Resample(shape=(1, 1, 24), order=3).forward(sharp, Geometry.make())

    assert y.dtype == np.int16
    assert y.ravel().tolist() == [0, 0, 1, 2, 2, 3]
    assert z.min() == 0 and z.max() == 255  # The spline itself leaves [0, 255].


def test_labels_come_back_by_the_nearest_voxel_and_keep_their_values():
    labels = np.random.default_rng(0).choice([0, 3, 7], (6, 5, 4, 1)).astype(np.uint8)
    chain = T.Chain([T.Standardize(mean=1.0, std=2.0), T.Resample(shape=(12, 10, 8))])
    _, geometry, undo = chain.forward(labels.astype(np.float32), _GRID)
    predicted = np.repeat(np.repeat(np.repeat(labels, 2, 0), 2, 1), 2, 2)

    back, _ = chain.inverse(predicted, geometry, undo, kind="label")

    np.testing.assert_array_equal(back, labels)


def test_orientations_are_told_and_reached():
    nibabel_like_ras = Geometry.make(1.0, direction=-np.eye(3)[:, ::-1] * [-1, 1, 1])
    x = np.arange(24).reshape(2, 3, 4)

    y, geometry, undo = T.Reorient(to="SPL").forward(x, nibabel_like_ras)
    back, old = T.Reorient(to="SPL").inverse(y, geometry, undo)

    assert T.orientation_of(nibabel_like_ras) == "SAR"
    assert T.orientation_of(geometry) == "SPL"
    np.testing.assert_array_equal(y[..., 0], x[:, ::-1, ::-1])
    np.testing.assert_array_equal(back[..., 0], x)
    assert old.is_close(nibabel_like_ras)


def test_the_grid_of_another_group_is_reached():
    x = _blob((8, 9, 10), (4, 4, 4), 1.5)
    other = kd.volumes.Image(np.zeros((5, 6, 7)), _OTHER)

    y, geometry, _ = T.Resample(by="pet").forward(x, _GRID, others={"pet": other})

    assert y.shape == (5, 6, 7, 1) and geometry.is_close(_OTHER)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: T.Resample(spacing_mm=0.0), "above 0 mm"),
        (lambda: T.Resample(), "one of"),
        (lambda: T.Resample(shape=4, order=2), "order of interpolation"),
        (lambda: T.Resample(shape=4, order=3, anti_alias=True), "order 1"),
        (lambda: T.Flip(axes=3), "0, 1, 2"),
        (lambda: T.Permute(order=(0, 0, 1)), "each of the axes"),
        (lambda: T.Pad(mode="wrap"), "'constant', 'edge' or 'reflect'"),
        (lambda: T.Pad(before=-1), "`Crop`"),
        (lambda: T.Crop(size=0), "1 voxel"),
        (lambda: T.Reorient(to="LLS"), "one letter of L or R"),
        (
            lambda: T.Crop(size=9).out_shape((8, 9, 9), Geometry.make()),
            "does not lie inside",
        ),
        (
            lambda: T.Resample(by="ct").forward(np.zeros((2, 2, 2)), Geometry.make()),
            "not there",
        ),
    ],
)
def test_what_cannot_be_done_is_told(make, words):
    with pytest.raises(kd.volumes.VolumeError, match=words):
        make()
