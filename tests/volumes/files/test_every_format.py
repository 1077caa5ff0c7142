"""What holds for volume files of every format: a new one is one line in `NAMES`."""

from __future__ import annotations

import itertools
import os

import numpy as np
import pytest

from kauldron.kd import volumes
from tests.volumes.files.volumes import (
    FLIPPED,
    GEOMETRIES,
    STRAIGHT,
    farthest_mm,
    random_array,
)

# File name -> what else it holds than int16 with one channel.
NAMES = ("x.nii", "x.nii.gz", "x.npy")
SHAPE = (4, 5, 6)


@pytest.fixture
def saved(tmp_path):
    def save(name, array, geometry=STRAIGHT):
        path = tmp_path / name
        volumes.write(path, volumes.Image(array, geometry))
        return path

    return save


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("placed", GEOMETRIES)
def test_values_and_world_positions_come_back(name, placed, saved):
    array = random_array(SHAPE)
    image = volumes.read(saved(name, array, GEOMETRIES[placed]))
    assert image.array.dtype == array.dtype
    np.testing.assert_array_equal(image.array, array)
    assert farthest_mm(image.geometry, GEOMETRIES[placed], SHAPE) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_region_is_the_crop_of_the_whole_and_lies_where_it_was(name, saved):
    array = random_array(SHAPE)
    path = saved(name, array, FLIPPED)
    region = volumes.Region((1, 2, 3), (3, 5, 4))
    part = volumes.read(path, region=region)
    np.testing.assert_array_equal(part.array, array[1:3, 2:5, 3:4])
    np.testing.assert_allclose(
        part.geometry.to_world((0, 0, 0)), FLIPPED.to_world((1, 2, 3)), atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_parts_that_are_written_in_any_order_make_the_whole(name, tmp_path):
    array = random_array(SHAPE)
    path = tmp_path / name
    with volumes.open_region_writer(
        path, shape=SHAPE, dtype="int16", geometry=STRAIGHT
    ) as writer:
        for z, y in itertools.product((2, 0), (0, 3)):
            region = volumes.Region((z, y, 0), (z + 2, min(y + 3, 5), 6))
            writer.write(region, array[region.slices])
        assert not path.exists()
    np.testing.assert_array_equal(volumes.read(path).array, array)


@pytest.mark.parametrize("name", NAMES)
def test_voxels_that_nobody_wrote_are_zero(name, tmp_path):
    with volumes.open_region_writer(
        tmp_path / name, shape=SHAPE, dtype="int16", geometry=STRAIGHT
    ) as writer:
        part = np.ones((1, 5, 6), np.int16)
        writer.write(volumes.Region((1, 0, 0), (2, 5, 6)), part)
    found = volumes.read(tmp_path / name).array
    assert found.sum() == 30
    assert found[1].all()


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(name, saved):
    array = random_array(SHAPE)
    path = saved(name, array)
    before = sorted(path.parent.iterdir())
    with (
        pytest.raises(ZeroDivisionError),
        volumes.open_region_writer(
            path, shape=(2, 2, 2), dtype="uint8", geometry=FLIPPED
        ) as writer,
    ):
        writer.write(volumes.Region((0, 0, 0), (1, 2, 2)), np.zeros((1, 2, 2), "u1"))
        raise ZeroDivisionError
    assert sorted(path.parent.iterdir()) == before
    np.testing.assert_array_equal(volumes.read(path).array, array)


@pytest.mark.parametrize("name", NAMES)
def test_info_tells_what_read_gives(name, saved):
    path = saved(name, random_array(SHAPE))
    info = volumes.info(path)
    image = volumes.read(path)
    assert (*info.shape, info.num_channels) == image.array.shape
    assert info.dtype == image.array.dtype
    assert info.geometry.is_close(image.geometry, atol_mm=0)
    assert info.notes == ()
    assert info.format == volumes.format_of(path).name


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_cut_off_is_told(name, saved):
    path = saved(name, random_array(SHAPE))
    for size in (path.stat().st_size - 10, 30):
        os.truncate(path, size)
        with pytest.raises(volumes.VolumeError, match=rf"{name}.*(cut off|damaged)"):
            volumes.read(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_told_with_the_nearest_name(name, saved):
    path = saved(name, random_array(SHAPE))
    with pytest.raises(volumes.VolumeError, match=f"no file .*Did you mean '{name}'"):
        volumes.read(path.with_name(f"xx{name[1:]}"))


@pytest.mark.parametrize("name", NAMES)
def test_a_region_outside_of_the_volume_is_told(name, saved):
    path = saved(name, random_array(SHAPE))
    for region in (
        volumes.Region((0, 0, 0), (4, 5, 7)),
        volumes.Region((-1, 0, 0), (1, 1, 1)),
        volumes.Region((2, 0, 0), (2, 1, 1)),
    ):
        with pytest.raises(volumes.VolumeError, match=r"not inside.*\(4, 5, 6\)"):
            volumes.read(path, region=region)
