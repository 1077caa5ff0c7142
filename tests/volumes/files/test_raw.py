"""Values one after the other: any order of axes, any packing, any region."""

from __future__ import annotations

import bz2
import gzip
import zlib

import numpy as np
import pytest

from kauldron.kd import volumes
from kauldron.volumes.files import _raw
from tests.volumes.files.volumes import random_array

SHAPE = (4, 5, 6, 3)
_PACKERS = {
    "": bytes,
    "gzip": gzip.compress,
    "zlib": zlib.compress,
    "bz2": bz2.compress,
}


def _write(path, axes, packing, packs_header=False):
    array = random_array(SHAPE[:3], "int16", 3).astype(">i2")
    content = array.transpose(["zyxc".index(axis) for axis in axes]).tobytes()
    if packs_header:
        path.write_bytes(_PACKERS[packing](b"header" + content))
    else:
        path.write_bytes(b"header" + _PACKERS[packing](content))
    values = _raw.RawValues(
        path=path,
        offset=6,
        dtype=np.dtype(">i2"),
        axes=axes,
        shape=SHAPE,
        packing=packing,
        packs_header=packs_header,
    )
    return array, values


@pytest.mark.parametrize("axes", ["zyxc", "czyx", "xyzc", "cxyz", "yczx"])
@pytest.mark.parametrize("packing", _PACKERS)
def test_a_region_is_the_crop_of_the_whole(axes, packing, tmp_path):
    array, values = _write(tmp_path / "x", axes, packing, packing == "gzip")
    rng = np.random.default_rng(0)
    for _ in range(20):
        ends = np.sort([rng.permutation(n + 1)[:2] for n in SHAPE[:3]], axis=1)
        region = volumes.Region(*(tuple(e.tolist()) for e in ends.T))
        part = values.read(region)
        np.testing.assert_array_equal(part, array[region.slices])
        assert part.dtype == np.int16
        assert part.flags.writeable and part.flags.c_contiguous


@pytest.mark.parametrize("packing", ["gzip", "zlib", "bz2"])
def test_a_byte_that_has_changed_is_told(packing, tmp_path):
    _, values = _write(tmp_path / "x", "zyxc", packing)
    content = bytearray(values.path.read_bytes())
    content[len(content) // 2] ^= 1
    values.path.write_bytes(content)
    with pytest.raises(volumes.VolumeError, match=r"x is .*damaged"):
        values.read(volumes.Region.whole(SHAPE))
