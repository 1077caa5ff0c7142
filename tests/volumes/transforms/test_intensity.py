"""Values: bounds, ranges, means, and their way back."""

import jax
import numpy as np
import pytest

from kauldron import kd

T = kd.volumes.transforms
_GRID = kd.volumes.Geometry.make()


def _volume(dtype=np.float32):
    return np.arange(-4, 8).reshape(2, 2, 3, 1).astype(dtype)


def test_clip_moves_values_to_bounds_and_keeps_the_type():
    y, _, _ = T.Clip(low=-2, high=3.0).forward(_volume(np.int16), _GRID)

    assert y.dtype == np.int16
    np.testing.assert_array_equal(y, np.clip(_volume(), -2, 3))


def test_clip_by_percentiles_counts_where_another_group_is_above_0():
    mask = (_volume() >= 0).astype(np.uint8)
    others = {"brain": kd.volumes.Image(mask, _GRID)}

    y, _, _ = T.Clip(percentiles=(25, 75), by="brain").forward(
        _volume(), _GRID, others=others
    )

    # Of 0 … 7, the quartiles are 1.75 and 5.25.
    assert (y.min(), y.max()) == (1.75, 5.25)


def test_normalize_maps_the_range_of_the_volume_and_back():
    y, geometry, undo = T.Normalize(to=(-1, 1)).forward(_volume(np.int16), _GRID)
    back, _ = T.Normalize(to=(-1, 1)).inverse(y, geometry, undo)

    assert y.dtype == np.float32 and (y.min(), y.max()) == (-1, 1)
    assert undo == {"low": -4.0, "high": 7.0}
    np.testing.assert_allclose(back, _volume(), atol=1e-6)


def test_windows_are_channels_that_rise_within_and_stay_beyond():
    x = np.array([-1000, -160, 40, 240, 3000], np.int16).reshape(1, 1, 5, 1)
    windows = T.IntensityWindows(windows=[(-160, 240), (0, 80)])
    y, _, _ = windows.forward(x, _GRID)

    assert y.dtype == np.float32
    np.testing.assert_allclose(y[0, 0, :, 0], [-1, -1, 0, 1, 1])
    np.testing.assert_allclose(y[0, 0, :, 1], [-1, -1, 0, 1, 1])
    y, _, _ = T.IntensityWindows(windows=[(-200, 0)], to=(0, 10)).forward(x, _GRID)
    np.testing.assert_allclose(y[0, 0, :, 0], [0, 2, 10, 10, 10])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "uint8", "int16", "int32"])
def test_windows_in_a_model_are_those_of_each_channel(dtype):
    windows = T.IntensityWindows(windows=[(-160, 240), (0, 80)])
    x = jax.random.randint(jax.random.key(0), (2, 1, 4, 3), 0, 250).astype(dtype)
    y = jax.jit(windows)(x)
    assert y.shape == (2, 1, 4, 6)
    assert y.dtype == (dtype if dtype == "bfloat16" else "float32")
    x = np.asarray(x, np.float64)
    by_hand = [np.clip((x + 160) / 200 - 1, -1, 1), np.clip(x / 40 - 1, -1, 1)]
    atol = 0.02 if dtype == "bfloat16" else 1e-6
    np.testing.assert_allclose(y, np.concatenate(by_hand, -1), atol=atol)


@pytest.mark.parametrize("per_channel", [False, True])
def test_standardize_has_mean_0_and_deviation_1_and_goes_back(per_channel):
    x = np.concatenate([_volume(), _volume() * 3 + 5], axis=3)
    transform = T.Standardize(per_channel=per_channel)
    y, geometry, undo = transform.forward(x, _GRID)
    back, _ = transform.inverse(y, geometry, undo)

    axis = (0, 1, 2) if per_channel else None
    np.testing.assert_allclose(y.mean(axis), 0, atol=1e-6)
    np.testing.assert_allclose(y.std(axis), 1, atol=1e-6)
    np.testing.assert_allclose(back, x, atol=1e-5)


def test_maps_and_labels_keep_their_values_on_the_way_back():
    _, geometry, undo = T.Standardize().forward(_volume(), _GRID)

    back, _ = T.Standardize().inverse(_volume(), geometry, undo, kind="map")

    np.testing.assert_array_equal(back, _volume())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: T.Clip(), "either"),
        (lambda: T.Clip(low=2, high=1), "above"),
        (lambda: T.Clip(percentiles=(90, 10)), "rise"),
        (lambda: T.IntensityWindows(windows=()), "one window or more"),
        (lambda: T.IntensityWindows(windows=[(0, 80), (80, 40)]), r"\(80, 40\)"),
        (lambda: T.Normalize(to=(1, 1)), "range"),
        (lambda: T.Standardize(mean=1.0), "both"),
        (lambda: T.Standardize().forward(np.ones((2, 2, 2)), _GRID), "constant volume"),
        (lambda: T.Normalize().forward(np.ones((2, 2, 2)), _GRID), "constant volume"),
        (lambda: T.Standardize().forward(_volume() / 0, _GRID), "12 of 12 values"),
        (lambda: T.Standardize().forward(_volume() / 0, _GRID), "Put `Replace` before"),
        (lambda: T.Clip(low=0).inverse(_volume(), _GRID, {}), "no inverse.*kind='map'"),
        (
            lambda: T.Clip(low=0).inverse(_volume(), _GRID, {}, kind="lable"),
            "Did you mean 'label'",
        ),
        (
            lambda: T.Chain().inverse(_volume(), _GRID, {"steps": []}, kind="lable"),
            "Did you mean 'label'",
        ),
        (
            lambda: T.Chain([T.Clip(low=0)]).inverse(_volume(), _GRID, {}),
            "chain of 1 transforms returned: got {}",
        ),
        (
            lambda: T.Standardize().inverse(_volume(), _GRID, {}),
            "`Standardize` returned: there is no 'mean' in {}",
        ),
        (lambda: T.Normalize(by="ct").forward(_volume(), _GRID), "no other group"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_what_has_no_answer_is_told(make, words):
    with pytest.raises(kd.volumes.VolumeError, match=words):
        make()


def test_values_that_are_not_finite_can_be_replaced_first():
    x = _volume()
    x[0, 0, 0] = np.nan

    y, _, _ = T.Chain([T.Replace(value=-4.0), T.Normalize()]).forward(x, _GRID)

    assert y[0, 0, 0, 0] == 0 and y.max() == 1


def test_a_matched_volume_has_the_distribution_of_the_reference_and_goes_back():
    rng = np.random.default_rng(0)
    reference = rng.gamma(2.0, size=4000)
    x = np.exp(rng.normal(size=(10, 10, 10, 1)))
    transform = T.HistogramMatching(reference=T.quantiles_of(reference))

    y, geometry, undo = transform.forward(x, _GRID)
    back, _ = transform.inverse(y, geometry, undo)

    ranks = np.linspace(0, 1, 11)
    np.testing.assert_allclose(
        np.quantile(y, ranks), np.quantile(reference, ranks), atol=0.02
    )
    assert (np.argsort(y.ravel()) == np.argsort(x.ravel())).all()
    np.testing.assert_allclose(back, x, rtol=1e-3)


def test_background_of_one_value_gets_the_middle_of_its_ranks():
    x = np.array([0, 0, 0, 0, 4.0]).reshape(1, 1, -1, 1)

    y, _, _ = T.HistogramMatching(reference=(1, 2, 3, 6, 9)).forward(x, _GRID)

    # Ranks 0, 1/4, 1/2, 3/4 are all 0: the mean of 1, 2, 3, 6.
    assert y.ravel().tolist() == [3, 3, 3, 3, 9]


def test_statistics_are_in_the_undo():
    _, _, undo = T.Statistics(percentiles=[50]).forward(_volume(), _GRID)

    assert undo == {
        "mean": 1.5,
        "std": _volume().std(dtype=np.float64),
        "min": -4.0,
        "max": 7.0,
        "num_voxels": 12,
        "percentiles": {50: 1.5},
    }


def test_the_gradient_of_a_ramp_in_the_world_is_its_slope():
    geometry = kd.volumes.Geometry.make(
        (2.0, 1.0, 0.5), direction=[[0.0, 0.6, 0.8], [0.0, 0.8, -0.6], [1.0, 0.0, 0.0]]
    )
    slope = np.array([0.3, -0.2, 0.5])  # per mm along x, y, z
    index = np.moveaxis(np.indices((4, 5, 3)), 0, -1)
    ramp = (geometry.to_world(index) @ slope)[..., None]

    vector, _, _ = T.Gradient(output="vector").forward(ramp, geometry)
    size, _, _ = T.Gradient().forward(ramp, geometry)

    np.testing.assert_allclose(vector, np.broadcast_to(slope, vector.shape), atol=1e-12)
    np.testing.assert_allclose(size, np.linalg.norm(slope), atol=1e-12)


def test_displacements_in_voxels_follow_flips_and_other_spacings():
    geometry = kd.volumes.Geometry.make((2.0, 1.0, 0.5))
    # One voxel along z is 2 mm along the z of the world, one along x half a mm.
    field = np.broadcast_to(np.float32([1, 0, 4]), (4, 4, 4, 3))
    chain = T.Chain(
        [
            T.VectorUnits(to="mm"),
            T.Flip(axes=2),
            T.Resample(spacing_mm=1.0),
            T.VectorUnits(to="voxels"),
        ]
    )

    world, _, _ = T.VectorUnits(to="mm").forward(field, geometry)
    voxels, grid, undo = chain.forward(field, geometry)
    back, _ = chain.inverse(voxels, grid, undo)

    np.testing.assert_allclose(world[0, 0, 0], [2, 0, 2])
    np.testing.assert_allclose(voxels[1, 1, 1], [2, 0, -2], atol=1e-6)
    np.testing.assert_allclose(back, field, atol=1e-5)
