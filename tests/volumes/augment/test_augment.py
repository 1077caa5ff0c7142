"""One draw for a case: patches, groups, landmarks and vectors agree."""

import numpy as np
import pytest

from kauldron import kd
from kauldron.volumes.geometry.base import Region

A = kd.volumes.augment

_SHAPE = (12, 14, 10)
_GRID = kd.volumes.Geometry.make(
    (2.0, 1.0, 1.5), (3, -4, 5), [[0.0, 0.6, 0.8], [0.0, 0.8, -0.6], [1.0, 0.0, 0.0]]
)
_PLACES = [
    A.Flip(),
    A.Permute(),
    A.Rotate(degrees=25),
    A.Scale(factor=(0.8, 1.25), is_isotropic=False),
    A.Translate(max_mm=3),
]
_VALUES = [
    A.Brightness(),
    A.Contrast(),
    A.Gamma(value_range=(-2, 2)),
    A.Noise(),
    A.Blur(),
    A.Cutout(size=4),
    A.LowResolution(factor=(1.5, 2.5)),
]
_ELASTIC = A.Elastic(spacing_mm=8.0, max_mm=2.0)


def _volume(num_channels=1):
    rng = np.random.default_rng(0)
    return rng.normal(size=(*_SHAPE, num_channels)).astype(np.float32)


def _draw(augmentations, copy=0, **changes):
    augment = A.Augment(augmentations, **changes)
    return augment.draw(7, 0, "case_1", copy, _SHAPE, _GRID)


@pytest.mark.parametrize("kind", ["image", "map", "label", "vector", "vector_mm"])
@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("copy", range(3))
def test_a_patch_is_the_crop_of_the_whole_augmented_volume(kind, order, copy):
    drawn = _draw([*_PLACES, _ELASTIC, *_VALUES], copy, order=order)
    x = _volume(3)
    if kind == "label":
        x = (x * 3).astype(np.int16)
    region = Region((2, 5, 1), (9, 11, 8))
    source = drawn.source_region(region, kind=kind)

    patch = drawn.apply(
        x[source.slices], _GRID, region=region, kind=kind, source=source
    )

    whole = drawn.apply(x, _GRID, kind=kind)
    assert patch.dtype == whole.dtype
    np.testing.assert_array_equal(patch, whole[region.slices])


def test_a_draw_hangs_on_seed_epoch_case_and_copy_alone():
    augment = A.Augment([*_PLACES, A.Noise()])
    keys = [
        (0, 0, "a", 0),
        (1, 0, "a", 0),
        (0, 1, "a", 0),
        (0, 0, "b", 0),
        (0, 0, "a", 1),
    ]

    drawn = [augment.draw(*key, _SHAPE, _GRID).apply(_volume(), _GRID) for key in keys]
    again = augment.draw(*keys[0], _SHAPE, _GRID).apply(_volume(), _GRID)

    np.testing.assert_array_equal(drawn[0], again)
    assert len({array.tobytes() for array in drawn}) == len(keys)


def test_another_augmentation_at_the_end_does_not_change_what_was_drawn():
    few, more = _draw(_PLACES), _draw([*_PLACES, _ELASTIC])

    np.testing.assert_array_equal(few.places.affine.matrix, more.places.affine.matrix)


@pytest.mark.parametrize("augmentation", _PLACES, ids=lambda a: type(a).__name__)
def test_each_linear_move_is_undone(augmentation):
    smooth = _blob((6.2, 6.1, 4.8), 2.0)
    moved = [_draw([augmentation], copy, order=3) for copy in range(4)]

    for drawn in moved:
        back = drawn.inverse(drawn.apply(smooth, _GRID), _GRID)
        # Two cubic interpolations of a blob of 2 voxels.
        inner = (slice(4, -4),) * 3
        np.testing.assert_allclose(back[inner], smooth[inner], atol=0.02)


def _blob(center, width):
    index = np.stack(np.meshgrid(*map(np.arange, _SHAPE), indexing="ij"), -1)
    return np.exp(-np.square((index - center) / width).sum(-1) / 2)[..., None]


@pytest.mark.parametrize("copy", range(4))
def test_landmarks_move_with_what_they_mark(copy):
    drawn = _draw(
        [A.Flip(), A.Rotate(degrees=20), A.Translate(max_mm=1), _ELASTIC], copy
    )
    center = np.array([6.2, 7.1, 4.4])

    [point] = drawn.points(_GRID.to_world(center[None]))

    index = np.stack(np.meshgrid(*map(np.arange, _SHAPE), indexing="ij"), -1)
    blob = drawn.apply(_blob(center, 1.2), _GRID, kind="map").astype(np.float64)
    centroid = (index * blob).sum((0, 1, 2)) / blob.sum()
    # The deformation bends the blob: its centroid is the landmark to 1/5 voxel.
    np.testing.assert_allclose(_GRID.to_index(point), centroid, atol=0.2)


def test_landmarks_come_from_where_the_map_leads():
    drawn = _draw([*_PLACES, _ELASTIC])
    index = np.random.default_rng(0).uniform(0, 9, (20, 3))

    back = drawn.places.from_source(drawn.places.to_source(index))

    np.testing.assert_allclose(back, index, atol=1e-7)


def test_a_quarter_turn_moves_voxels_vectors_and_landmarks_as_worked_by_hand():
    grid = kd.volumes.Geometry.make(1.0)
    # The result at (z, y, x) comes from (z, x, 2 - y): in the plane, a quarter turn.
    move = A.Affine(
        matrix=np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]]),
        offset=np.array([0.0, 0, 2]),
    )
    drawn = A.Drawn(
        grid=A.Grid(shape=(1, 3, 3), geometry=grid),
        places=A.PlaceMap(affine=move),
        filters=(),
    )
    x = np.arange(9).reshape(1, 3, 3, 1)
    along_x = np.zeros((1, 3, 3, 3), np.float32)
    along_x[..., 2] = 1

    np.testing.assert_array_equal(
        drawn.apply(x, grid)[0, ..., 0], [[2, 5, 8], [1, 4, 7], [0, 3, 6]]
    )
    # What led to greater x leads to smaller y: x = 2 - y.
    turned = drawn.apply(along_x, grid, kind="vector")
    np.testing.assert_allclose(turned[0, 1, 1], [0, -1, 0])
    # The same in the world, whose axes are (x, y, z).
    world = np.zeros((1, 3, 3, 3), np.float32)
    world[..., 0] = 1
    turned = drawn.apply(world, grid, kind="vector_mm")
    np.testing.assert_allclose(turned[0, 1, 1], [0, -1, 0])
    # Voxel (0, 0, 2), the point (2, 0, 0), comes to (0, 0, 0).
    np.testing.assert_allclose(drawn.points([[2.0, 0, 0]]), [[0, 0, 0]], atol=1e-12)


@pytest.mark.parametrize("kind", ["vector", "vector_mm"])
def test_a_small_displacement_still_joins_the_landmarks_that_it_joined(kind):
    drawn = _draw([*_PLACES, _ELASTIC], 1)
    index = np.array([[5.0, 6.0, 4.0]])
    place = drawn.places.to_source(index)
    # Joins two landmarks of the source that are close to each other.
    step = np.array([[0.01, -0.02, 0.015]])
    vectors = step if kind == "vector" else step @ _GRID.matrix.T
    field = np.broadcast_to(vectors.astype(np.float32), (*_SHAPE, 3))

    moved = drawn.apply(field, _GRID, kind=kind)[5, 6, 4]

    expected = drawn.places.from_source(place + step) - index
    if kind == "vector_mm":
        expected = expected @ _GRID.matrix.T
    # Second order in a step of 1/50 voxel.
    np.testing.assert_allclose(moved, expected[0], atol=2e-4)


def test_the_derivative_of_the_map_is_the_numerical_one():
    drawn = _draw([*_PLACES, _ELASTIC])
    index = np.array([[4.0, 5.0, 3.0]])
    region = Region((4, 5, 3), (5, 6, 4))

    jacobian = np.broadcast_to(drawn.places.jacobian(region), (1, 1, 1, 3, 3))[0, 0, 0]

    h = 1e-4
    steps = np.eye(3) * h
    forward, backward = (drawn.places.to_source(index + s * steps) for s in (1, -1))
    np.testing.assert_allclose(jacobian, (forward - backward).T / (2 * h), atol=1e-5)


def test_a_rotation_keeps_distances_in_the_world_whatever_the_spacing():
    drawn = _draw([A.Rotate(degrees=40)])
    points = np.random.default_rng(0).normal(size=(2, 3)) * 5

    moved = drawn.points(points)

    assert np.linalg.norm(moved[0] - moved[1]) == pytest.approx(
        np.linalg.norm(points[0] - points[1])
    )


def test_noise_is_normal_new_at_each_voxel_and_the_same_in_every_patch():
    noise = A.Noise(std=(1.0, 1.0))
    augment = A.Augment([noise])
    shape = (40, 40, 40)
    drawn = augment.draw(0, 0, "a", 0, shape, _GRID)

    x = drawn.apply(np.zeros((*shape, 1), np.float32), _GRID)[..., 0]

    # 64,000 values: a mean of 0 and a deviation of 1 to 4 standard errors.
    assert abs(x.mean()) < 4 / 253 and abs(x.std() - 1) < 4 / 358
    assert np.mean(np.abs(x) > 1.959964) == pytest.approx(0.05, abs=0.0035)
    for axis in range(3):
        left, right = (np.delete(x, end, axis).ravel() for end in (0, -1))
        assert abs(np.corrcoef(left, right)[0, 1]) < 4 / 250


def test_flips_alone_mix_no_voxels_and_keep_integers():
    x = (_volume() * 100).astype(np.int16)
    drawn = _draw([A.Flip()], 1)

    y = drawn.apply(x, _GRID)

    assert y.dtype == np.int16
    np.testing.assert_array_equal(np.sort(y.ravel()), np.sort(x.ravel()))
    np.testing.assert_array_equal(drawn.inverse(y, _GRID), x)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: A.Augment([], copies=0), "copies"),
        (lambda: A.Augment([], prob=1.5), "probability"),
        (lambda: A.Noise(prob=-1), "probability"),
        (lambda: A.Noise(std=(-1, 1)), "Noise.std"),
        (lambda: A.Scale(factor=(0, 1)), "Scale.factor"),
        (lambda: A.Elastic(spacing_mm=8, max_mm=4), "folds"),
        (lambda: A.Gamma(value_range=(1, 1)), "value_range"),
        (lambda: _draw([_ELASTIC, _ELASTIC]), "two elastic"),
        (lambda: _draw([_ELASTIC]).inverse(_volume(), _GRID), "no inverse"),
        (lambda: _draw([]).apply(_volume()[1:], _GRID), "share one"),
        (lambda: _draw([]).apply(_volume(), kd.volumes.Geometry.make()), "geometry"),
        (lambda: _draw([]).apply(_volume(), _GRID, kind="vector"), "3 components"),
        (lambda: _draw([]).apply(_volume(), _GRID, kind="mask"), "one of"),
        (
            lambda: _draw([]).apply(
                _volume(), _GRID, region=Region((0, 0, 0), (0, 1, 1))
            ),
            "has a voxel",
        ),
    ],
)
def test_what_cannot_be_done_is_told(make, words):
    with pytest.raises(kd.volumes.VolumeError, match=words):
        make()
