"""What holds for volume files of every format: a new one is one line in `NAMES`."""

from __future__ import annotations

import itertools
import os
import pathlib

import numpy as np
import pytest

from kauldron.kd import volumes
from kauldron.volumes.files import _nifti
from tests.volumes.files.volumes import (
    FLIPPED,
    GEOMETRIES,
    OBLIQUE,
    STRAIGHT,
    farthest_mm,
    random_array,
)

VOLUMES = (
    "x.nii",
    "x.nii.gz",
    "x.mha",
    "x.mhd",
    "x.nrrd",
    "x.ome.zarr",
    "x.h5",
    "x.npy",
)
PICTURES = ("x.png", "x.tif")
NAMES = (*VOLUMES, "x.dicom", *PICTURES)
FOLDERS = ("x.ome.zarr", "x.dicom")
SHAPE = (4, 5, 6)


def _array(name):
    """Values that a format can hold."""
    if name in PICTURES:
        return random_array((1, 5, 6), "uint8")
    return random_array(SHAPE)


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
    array = _array(name)
    if name == "x.dicom" and placed == "sheared":
        with pytest.raises(volumes.VolumeError, match=r"right angles.* \.nii\.gz, "):
            saved(name, array, GEOMETRIES[placed])
        return
    image = volumes.read(saved(name, array, GEOMETRIES[placed]))
    if name == "x.dicom" and placed == "flipped":
        # Slices lie along the normal of a right-handed system: the last one is first.
        np.testing.assert_array_equal(image.array, array[::-1])
        assert farthest_mm(image.geometry, FLIPPED.moved((3, 0, 0)), (1, 5, 6)) < 1e-5
        assert (image.geometry.matrix[:, 0] == -FLIPPED.matrix[:, 0]).all()
        return
    assert image.array.dtype == array.dtype
    np.testing.assert_array_equal(image.array, array)
    assert farthest_mm(image.geometry, GEOMETRIES[placed], image.shape) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_a_region_is_the_crop_of_the_whole_and_lies_where_it_was(name, saved):
    array = _array(name)
    path = saved(name, array, OBLIQUE)
    depth = array.shape[0]
    region = volumes.Region((depth // 4, 2, 3), (depth // 2 + 1, 5, 4))
    part = volumes.read(path, region=region)
    np.testing.assert_array_equal(part.array, array[region.slices])
    np.testing.assert_allclose(
        part.geometry.to_world((0, 0, 0)), OBLIQUE.to_world(region.start), atol=1e-5
    )


@pytest.mark.parametrize("name", NAMES)
def test_parts_that_are_written_in_any_order_make_the_whole(name, tmp_path):
    array = _array(name)
    depth = array.shape[0]
    path = tmp_path / name
    with volumes.open_region_writer(
        path, shape=array.shape[:3], dtype=array.dtype, geometry=STRAIGHT
    ) as writer:
        for z, y in itertools.product((2, 0), (0, 3)):
            if z < depth:
                stop = (min(z + 2, depth), min(y + 3, 5), 6)
                region = volumes.Region((z, y, 0), stop)
                writer.write(region, array[region.slices])
        assert not path.exists()
    np.testing.assert_array_equal(volumes.read(path).array, array)


@pytest.mark.parametrize("name", NAMES)
def test_voxels_that_nobody_wrote_are_zero(name, tmp_path):
    array = _array(name)
    with volumes.open_region_writer(
        tmp_path / name, shape=array.shape[:3], dtype=array.dtype, geometry=STRAIGHT
    ) as writer:
        part = np.ones((1, 2, 6), array.dtype)
        writer.write(volumes.Region((0, 1, 0), (1, 3, 6)), part)
    found = volumes.read(tmp_path / name).array
    assert found.sum() == 12
    assert found[0, 1:3].all()


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(name, saved):
    array = _array(name)
    path = saved(name, array)
    before = sorted(path.parent.iterdir())
    with (
        pytest.raises(ZeroDivisionError),
        volumes.open_region_writer(
            path, shape=(1, 2, 2), dtype="uint8", geometry=FLIPPED
        ) as writer,
    ):
        writer.write(volumes.Region((0, 0, 0), (1, 1, 2)), np.zeros((1, 1, 2), "u1"))
        raise ZeroDivisionError
    assert sorted(path.parent.iterdir()) == before
    np.testing.assert_array_equal(volumes.read(path).array, array)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_replaced_by_another_one(name, saved):
    saved(name, _array(name), FLIPPED)
    path = saved(name, _array(name)[:, 1:] // 2, STRAIGHT)
    image = volumes.read(path)
    np.testing.assert_array_equal(image.array, _array(name)[:, 1:] // 2)
    assert farthest_mm(image.geometry, STRAIGHT, image.shape) <= 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_info_tells_what_read_gives(name, saved):
    path = saved(name, _array(name))
    info = volumes.info(path)
    image = volumes.read(path)
    assert (*info.shape, info.num_channels) == image.array.shape
    assert info.dtype == image.array.dtype
    assert info.geometry.is_close(image.geometry, atol_mm=0)
    assert info.notes == ()
    assert info.format == volumes.format_of(path).name


@pytest.mark.parametrize("name", sorted(set(NAMES) - set(FOLDERS)))
@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_file_that_is_cut_off_is_told(name, saved):
    path = saved(name, _array(name))
    size = path.stat().st_size
    for length in (size // 2 if name in PICTURES else size - 10, 30):
        os.truncate(path, length)
        with pytest.raises(volumes.VolumeError, match=rf"{name}.*(cut off|damaged)"):
            volumes.read(path)


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_told_with_the_nearest_name(name, saved):
    path = saved(name, _array(name))
    with pytest.raises(volumes.VolumeError, match=f"no file .*Did you mean '{name}"):
        volumes.read(path.with_name(f"xx{name[1:]}"))


@pytest.mark.parametrize("name", NAMES)
def test_a_region_outside_of_the_volume_is_told(name, saved):
    path = saved(name, _array(name))
    for region in (
        volumes.Region((0, 0, 0), (1, 5, 7)),
        volumes.Region((0, 2, 0), (1, 2, 1)),
    ):
        with pytest.raises(volumes.VolumeError, match=r"not inside.*5, 6\)"):
            volumes.read(path, region=region)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_is_not_there_or_takes_no_files_is_told(name, tmp_path):
    image = volumes.Image(_array(name))
    with pytest.raises(volumes.VolumeError, match=r"no folder .*nowhere"):
        volumes.write(tmp_path / "nowhere" / name, image)
    with pytest.raises(
        volumes.VolumeError, match=f"{name} cannot be written: "
    ) as error:
        volumes.write(pathlib.Path("/proc") / name, image)
    assert ".tmp" not in str(error.value)  # the name of a file that nobody sees


_REFUSED = {
    "x.dicom": {"float32", "int32", "int64"},
    "x.png": {"float32", "int32", "int16", "int64"},
    "x.tif": {"float64", "uint32", "int16", "int64"},
}


@pytest.mark.parametrize("name", NAMES)
def test_every_dtype_comes_back_or_is_refused_and_nothing_is_cast(name, tmp_path):
    path = tmp_path / name
    holds_any = name in ("x.ome.zarr", "x.h5", "x.npy")
    refused = {"complex64", "longdouble"} | _REFUSED.get(name, set())
    refused |= set() if holds_any else {"bool", "float16"}
    for dtype in refused:
        array = np.ones(_array(name).shape, dtype)
        with pytest.raises(volumes.VolumeError, match=f"{name}.*{np.dtype(dtype)}"):
            volumes.write(path, volumes.Image(array))
        assert list(tmp_path.iterdir()) == []
    held = {"uint8", "uint16"}
    held |= {"int64", "uint64", "float64", "int16"} if name in VOLUMES else set()
    held |= {"bool", "float16"} if holds_any else set()
    held |= {"float32", "int32"} if name == "x.tif" else set()
    for dtype in held:
        array = random_array(_array(name).shape[:3], dtype)
        volumes.write(path, volumes.Image(array))
        found = volumes.read(path).array
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("name", NAMES)
def test_channels_come_back(name, tmp_path):
    array = random_array(_array(name).shape[:3], "uint8", 3)
    volumes.write(tmp_path / name, volumes.Image(array, OBLIQUE))
    np.testing.assert_array_equal(volumes.read(tmp_path / name).array, array)


def test_a_refusal_names_the_formats_that_can(tmp_path):
    image = volumes.Image(np.zeros(SHAPE, np.float16))
    with pytest.raises(volumes.VolumeError) as error:
        volumes.write(tmp_path / "x.nii.gz", image)
    assert "NIfTI has no float16. These can hold it: .ome.zarr, .h5, .npy." in str(
        error.value
    )


@pytest.mark.parametrize("placed", ["oblique", "sheared"])
def test_a_volume_passes_from_every_format_to_every_other(placed, tmp_path):
    array = random_array(SHAPE, "float32", 2)
    image = volumes.Image(array, GEOMETRIES[placed])
    # From each to all that follow, and back.
    tour = [
        name
        for i, a in enumerate(VOLUMES)
        for name in (*(n for b in VOLUMES[i + 1 :] for n in (a, b)), a)
    ]
    assert set(itertools.pairwise(tour)) >= set(itertools.permutations(VOLUMES, 2))
    for name in tour:
        volumes.write(tmp_path / name, image)
        image = volumes.read(tmp_path / name)
    np.testing.assert_array_equal(image.array, array)
    assert farthest_mm(image.geometry, GEOMETRIES[placed], SHAPE) <= 1e-5


def test_what_is_written_must_fit_the_file(tmp_path):
    with volumes.open_region_writer(
        tmp_path / "x.nii", shape=(2, 2, 2), dtype="int16", geometry=STRAIGHT
    ) as writer:
        whole = volumes.Region.whole((2, 2, 2))
        with pytest.raises(volumes.VolumeError, match=r"shape \(2, 2, 2, 1\): got"):
            writer.write(whole, np.zeros((2, 2, 1), np.int16))
        with pytest.raises(volumes.VolumeError, match=r"`array.astype\('int16'\)`"):
            writer.write(whole, np.zeros((2, 2, 2), np.int64))
        with pytest.raises(volumes.VolumeError, match="not inside"):
            writer.write(volumes.Region((0, 0, 0), (2, 2, 3)), np.zeros((2, 2, 3)))


def test_what_is_no_region_image_or_geometry_is_told(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((2, 2, 2), np.int16))
    for region in (np.s_[0:2, 0:2, 0:2], ((0, 0, 0), (2, 2, 2))):
        with pytest.raises(
            volumes.VolumeError, match=r"^`region` is a `kd\.volumes\.R"
        ):
            volumes.read(path, region=region)
    for start in ((-1, 0, 0), (0.5, 0, 0), (0, 0)):
        with pytest.raises(volumes.VolumeError, match="three integers"):
            volumes.Region(start, (2, 2, 2))
    assert volumes.Region(np.zeros(3, int), [2, 2, 2]) == volumes.Region.whole(
        (2, 2, 2)
    )
    with pytest.raises(volumes.VolumeError, match=r"kd\.volumes\.Image\(array, geom"):
        volumes.write(path, np.zeros((2, 2, 2)))
    with pytest.raises(volumes.VolumeError, match="holds numbers: got an array of <U1"):
        volumes.Image(np.full((2, 2, 2), "a"))
    with pytest.raises(volumes.VolumeError, match=r"one number or three.*\(1, 1\)"):
        volumes.Geometry.make(spacing_mm=(1, 1))


def test_an_unknown_suffix_is_told_with_the_nearest(tmp_path):
    with pytest.raises(volumes.VolumeError, match=r"no suffix.*Did you mean '\.nrrd'"):
        volumes.read(tmp_path / "x.nrd")
    with pytest.raises(volumes.VolumeError, match=r"no suffix of a volume.*\.nii\.gz"):
        volumes.write(tmp_path / "x", volumes.Image(np.zeros((1, 1, 1))))


def test_missing_rights_are_told(monkeypatch, saved):
    path = saved("x.nii", random_array(SHAPE))

    def refuse(*args):
        raise PermissionError(13, "Permission denied")  # `chmod` does not stop root

    monkeypatch.setattr(_nifti.Nifti, "open", refuse)
    with pytest.raises(volumes.VolumeError, match=r"x\.nii .*permission denied.*chmod"):
        volumes.read(path)


def test_an_empty_volume_is_refused(tmp_path):
    with pytest.raises(volumes.VolumeError, match="empty"):
        volumes.write(tmp_path / "x.nii", volumes.Image(np.zeros((0, 2, 2))))
