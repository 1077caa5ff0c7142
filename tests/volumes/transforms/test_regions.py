"""Reading a region through a chain equals cropping the whole."""

import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from kauldron import kd
from kauldron.volumes.geometry.base import Region

T = kd.volumes.transforms

_GRID = kd.volumes.Geometry.make(
    (1.5, 1.0, 2.0), (3, -4, 5), [[0.0, 0.6, 0.8], [0.0, 0.8, -0.6], [1.0, 0.0, 0.0]]
)

# Each transform of the room, with values that are worth a region.
_MEMBERS = {
    "clip": st.just(T.Clip(low=-1.0, high=1.5)),
    "windows": st.just(T.IntensityWindows(windows=[(-1.0, 1.0), (0.0, 0.5)])),
    "clip percentiles": st.just(T.Clip(percentiles=(5, 95))),
    "normalize": st.just(T.Normalize()),
    "standardize": st.just(T.Standardize()),
    "matched": st.just(T.HistogramMatching(reference=(-1.0, 0.0, 3.0))),
    "gradient": st.just(T.Gradient()),
    "foreground": st.builds(T.CropToForeground, above=st.floats(-1, 0.5)),
    "statistics": st.just(T.Statistics()),
    "flip": st.builds(T.Flip, axes=st.sampled_from([(0,), (1, 2), (0, 1, 2)])),
    "permute": st.builds(T.Permute, order=st.permutations([0, 1, 2]).map(tuple)),
    "pad": st.builds(
        T.Pad,
        before=st.tuples(*[st.integers(0, 3)] * 3),
        after=st.tuples(*[st.integers(0, 3)] * 3),
        mode=st.sampled_from(["constant", "edge", "reflect"]),
    ),
    "pad to": st.builds(T.Pad, min_shape=st.integers(3, 12), multiple_of=st.just(4)),
    "reorient": st.builds(T.Reorient, to=st.sampled_from(["SPL", "RAI", "PIR"])),
    "crop": st.tuples(*[st.integers(1, 3)] * 3).map(
        lambda size: T.Chain([T.Pad(min_shape=3), T.Crop(size=size)])
    ),
    "to spacing": st.builds(
        T.Resample,
        spacing_mm=st.floats(0.7, 3.0),
        order=st.sampled_from([0, 1, 3]),
        fill=st.sampled_from([0.0, None]),
    ),
    "to shape": st.builds(
        T.Resample, shape=st.tuples(*[st.integers(2, 9)] * 3), anti_alias=st.booleans()
    ),
    "to grid": st.builds(
        T.Resample,
        shape=st.tuples(*[st.integers(2, 9)] * 3),
        geometry=st.just(kd.volumes.Geometry.make(1.3, (2.5, -4, 5))),
        order=st.sampled_from([0, 1, 3]),
    ),
}


@st.composite
def _regions(draw, shape):
    starts = [draw(st.integers(0, n - 1)) for n in shape]
    stops = [draw(st.integers(a + 1, n)) for a, n in zip(starts, shape, strict=True)]
    return Region(tuple(starts), tuple(stops))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    chain=st.lists(st.one_of(*_MEMBERS.values()), min_size=1, max_size=4),
    data=st.data(),
)
def test_a_region_of_a_chain_is_the_crop_of_the_whole(chain, data):
    shape = data.draw(st.tuples(*[st.integers(3, 8)] * 3))
    x = np.random.default_rng(0).normal(size=(*shape, 2)).astype(np.float32)
    transform = T.Chain(chain)

    try:
        whole, geometry, _ = transform.forward(x, _GRID)
    except kd.volumes.VolumeError as error:
        # Of what was padded and clipped to one value there is no deviation, of what was
        # normalised no foreground.
        assert "constant volume" in str(error) or "no foreground" in str(error)
        reject()
    volume = T.opened(lambda r: x[r.slices], transform, shape=shape, geometry=_GRID)
    region = data.draw(_regions(volume.shape))

    assert volume.shape == whole.shape[:3]
    assert volume.geometry.is_close(geometry, atol_mm=1e-6)
    # Of a cubic spline, what lies 16 voxels away counts less than rounding; all else is
    # exact, since each voxel is computed from the same numbers in the same order.
    is_exact = not any(isinstance(t, T.Resample) and t.order == 3 for t in chain)
    np.testing.assert_allclose(
        volume.read(region), whole[region.slices], rtol=0, atol=0 if is_exact else 1e-5
    )


_LABEL_MEMBERS = st.one_of(
    st.builds(T.Dilate, voxels=st.integers(0, 2), is_ball=st.booleans()),
    st.just(T.SelectLabels(labels=[3, 1], renumber=True)),
    st.just(T.MergeLabels(groups=[[2, 3]], keep_others=True)),
    st.just(T.Mask(by="brain")),
    st.just(T.Flip(axes=(0, 2))),
    st.builds(T.Pad, before=st.integers(0, 2)),
    st.builds(T.Resample, shape=st.integers(2, 9), order=st.just(0)),
)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(chain=st.lists(_LABEL_MEMBERS, min_size=1, max_size=4), data=st.data())
def test_a_region_of_a_chain_of_labels_is_the_crop_of_the_whole(chain, data):
    shape = (6, 5, 7)
    x = np.random.default_rng(0).integers(0, 4, (*shape, 1), np.uint8)
    others = {"brain": kd.volumes.Image(x[::2, :, 1:], _GRID.moved((0, 0, 1)))}
    transform = T.Chain(chain)
    whole, _, _ = transform.forward(x, _GRID, others=others)

    volume = T.opened(
        lambda r: x[r.slices], transform, shape=shape, geometry=_GRID, others=others
    )
    region = data.draw(_regions(volume.shape))

    np.testing.assert_array_equal(volume.read(region), whole[region.slices])


def test_only_what_a_region_needs_is_read():
    chain = T.Chain([T.Flip(axes=(0,)), T.Crop(size=4), T.Clip(low=0.0)])
    reads = []

    def read(region):
        reads.append(region)
        return np.zeros(region.shape)

    T.read_region(
        read,
        chain,
        Region((0, 1, 2), (1, 2, 4)),
        shape=(10, 8, 6),
        geometry=kd.volumes.Geometry.make(),
    )

    assert reads == [Region((6, 3, 3), (7, 4, 5))]


def test_a_transform_that_has_not_seen_the_volume_says_so():
    with pytest.raises(kd.volumes.VolumeError, match="has to see the volume first"):
        T.Standardize().out_shape((2, 2, 2), kd.volumes.Geometry.make())


def test_a_region_outside_of_the_volume_is_told():
    volume = T.opened(
        lambda region: np.zeros(region.shape),
        T.Flip(),
        shape=(4, 4, 4),
        geometry=kd.volumes.Geometry.make(),
    )

    with pytest.raises(kd.volumes.VolumeError, match=r"\(0, 0, 2\) to \(4, 4, 5\)"):
        volume.read(Region((0, 0, 2), (4, 4, 5)))
