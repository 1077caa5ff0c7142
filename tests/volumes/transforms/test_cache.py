"""What is in the cache is not computed again."""

import numpy as np
import pytest

from kauldron import kd

T = kd.volumes.transforms
Region = kd.volumes.Region

_GRID = kd.volumes.Geometry.make((2, 1, 1), (5, 0, -3))
_SHAPE = (6, 8, 7)
_X = np.random.default_rng(0).normal(size=_SHAPE).astype(np.float32)


class _Source:
    def __init__(self):
        self.num_reads = 0

    def __call__(self, region):
        self.num_reads += 1
        return _X[region.slices]


def _opened(directory, source, *, spacing=1.3, key="case_1/ct"):
    chain = T.Chain(
        [
            T.Resample(spacing_mm=spacing),
            T.Standardize(),
            T.CacheToDisk(directory=directory),
            T.Flip(axes=1),
        ]
    )
    volume = T.opened(source, chain, shape=_SHAPE, geometry=_GRID, key=key)
    return chain, volume


def test_a_cached_volume_is_computed_once_and_is_the_same(tmp_path):
    source = _Source()
    chain, first = _opened(tmp_path, source)
    reads = source.num_reads
    _, second = _opened(tmp_path, source)
    region = Region((1, 2, 3), (4, 6, 5))

    whole, geometry, undo = chain.forward(_X, _GRID)

    assert source.num_reads == reads > 0
    for volume in (first, second):
        np.testing.assert_array_equal(volume.read(region), whole[region.slices])
        assert volume.geometry.is_close(geometry)
        back, grid = chain.inverse(whole, geometry, volume.undo)
        expected, _ = chain.inverse(whole, geometry, undo)
        np.testing.assert_allclose(back, expected, atol=1e-6)
        assert grid.is_close(_GRID)


@pytest.mark.parametrize("change", [{"spacing": 1.4}, {"key": "case_2/ct"}])
def test_another_chain_or_case_has_another_file(tmp_path, change):
    source = _Source()
    _opened(tmp_path, source)
    reads = source.num_reads

    _opened(tmp_path, source, **change)

    assert source.num_reads > reads


def test_a_damaged_file_is_made_again(tmp_path):
    _, first = _opened(tmp_path, _Source())
    expected = first.read()
    [path] = tmp_path.glob("*.npy")
    path.write_bytes(path.read_bytes()[:200])

    _, second = _opened(tmp_path, _Source())

    np.testing.assert_array_equal(second.read(), expected)


def test_without_a_name_of_the_case_nothing_is_kept(tmp_path):
    _opened(tmp_path, _Source(), key=None)

    assert list(tmp_path.iterdir()) == []
