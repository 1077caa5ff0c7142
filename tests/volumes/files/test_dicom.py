"""DICOM series: order, gaps, tilt, rescale, and what is wrong with a folder."""

from __future__ import annotations

import pathlib
import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom import uid as uids

from kauldron.kd import volumes
from tests.volumes.files.volumes import (
    OBLIQUE,
    STRAIGHT,
    TILTED,
    farthest_mm,
    random_array,
)

SHAPE = (5, 3, 4)


@pytest.fixture
def series(tmp_path):
    """Writes a folder; its slices are changed by `change(dataset, index)`."""

    def write(change=None, geometry=STRAIGHT, array=None, name="ct"):
        array = random_array(SHAPE) if array is None else array
        volumes.write(tmp_path / "x.dicom", volumes.Image(array, geometry))
        folder = tmp_path / name
        shutil.move(tmp_path / "x.dicom", folder)
        for i, file in enumerate(sorted(folder.iterdir())):
            dataset = pydicom.dcmread(file)
            if change is not None:
                change(dataset, i)
                dataset.save_as(file)
        return folder

    return write


def _read_by_sitk(folder):
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    return sitk.ReadImage(names)


def _move(dataset, z, x=-10.5):
    dataset.ImagePositionPatient = [x, 20.25, z]


@pytest.mark.parametrize("geometry", [STRAIGHT, OBLIQUE])
def test_simpleitk_reads_what_is_written(geometry, series):
    array = random_array(SHAPE)
    folder = series(geometry=geometry, array=array)
    image = _read_by_sitk(folder)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array[..., 0])
    np.testing.assert_allclose(image.GetSpacing()[::-1], geometry.spacing_mm)
    np.testing.assert_allclose(image.GetOrigin(), geometry.origin, atol=1e-9)
    direction = np.array(image.GetDirection()).reshape(3, 3)
    np.testing.assert_allclose(direction[:, ::-1], geometry.direction, atol=1e-9)


def test_slices_are_ordered_by_place_and_not_by_name_or_number(series):
    def shuffle(dataset, i):
        dataset.InstanceNumber = (3 * i) % 5

    folder = series(shuffle)
    for i, file in enumerate(sorted(folder.iterdir(), reverse=True)):
        file.rename(folder / f"IM{i}")
    (folder / "README.txt").write_text("not DICOM")
    image = volumes.read(folder)
    np.testing.assert_array_equal(image.array, random_array(SHAPE))
    assert farthest_mm(image.geometry, STRAIGHT, SHAPE) < 1e-9


@pytest.mark.parametrize(
    ("slope", "intercept", "dtype"),
    [(1, -1024, "int32"), (2, 0, "int32"), (0.5, 3, "float64")],
)
def test_rescaling_is_applied_in_the_smallest_exact_dtype(
    slope, intercept, dtype, series
):
    def rescale(dataset, i):
        dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept

    folder = series(rescale)
    expected = random_array(SHAPE).astype(np.float64) * slope + intercept
    found = volumes.read(folder).array
    assert found.dtype == volumes.info(folder).dtype == dtype
    np.testing.assert_array_equal(found, expected)
    by_sitk = sitk.GetArrayFromImage(_read_by_sitk(folder))
    np.testing.assert_array_equal(found[..., 0], by_sitk)


def test_slices_that_are_rescaled_differently_become_floats_and_are_told(series):
    def rescale(dataset, i):
        dataset.RescaleSlope = i + 1

    folder = series(rescale)
    expected = random_array(SHAPE) * (np.arange(5.0) + 1)[:, None, None, None]
    np.testing.assert_array_equal(volumes.read(folder).array, expected)
    assert volumes.info(folder).notes[0].startswith("Rescale")


def test_a_missing_slice_is_refused_where_simpleitk_stretches_the_volume(series):
    folder = series()
    sorted(folder.iterdir())[1].unlink()
    with pytest.raises(
        volumes.VolumeError,
        match=r"missing, 1 between slice_1\.dcm and slice_3\.dcm: the gaps are 2 to 4 mm",
    ):
        volumes.read(folder)
    # (last - first) / (slices - 1)
    assert _read_by_sitk(folder).GetSpacing()[2] == pytest.approx(8 / 3)


def test_slices_at_the_same_place_are_refused_with_their_names(series):
    folder = series()
    shutil.copy(folder / "slice_2.dcm", folder / "slice_2_again.dcm")
    says = r"slice_2\.dcm and slice_2_again\.dcm are at the same place"
    with pytest.raises(volumes.VolumeError, match=says) as error:
        volumes.read(folder)
    assert "dcm2niix" not in str(error.value)
    for i in (1, 3, 4, 5):
        shutil.copy(folder / f"slice_{i}.dcm", folder / f"slice_{i}_again.dcm")
    with pytest.raises(volumes.VolumeError, match=r"2 volumes in one series.*dcm2niix"):
        volumes.read(folder)


def test_unequal_gaps_are_refused(series):
    folder = series(lambda dataset, i: _move(dataset, (0, 2, 4.9, 7, 9)[i]))
    says = r"not at equal distances: 2 mm between slice_1.*2\.9 mm between slice_2"
    with pytest.raises(volumes.VolumeError, match=says):
        volumes.read(folder)


def test_rounded_positions_are_equal_gaps(series):
    folder = series(lambda dataset, i: _move(dataset, (0, 0.67, 1.33, 2, 2.67)[i]))
    info = volumes.info(folder)
    np.testing.assert_allclose(info.geometry.spacing_mm[0], 2.67 / 4)
    assert not info.geometry.is_sheared


def test_a_tilted_gantry_is_kept_as_shear_and_told(series):
    folder = series(geometry=TILTED)
    info = volumes.info(folder)
    assert farthest_mm(info.geometry, TILTED, SHAPE) < 1e-5
    assert info.geometry.is_sheared
    # 0.6 mm to the side in 4 mm.
    assert info.notes[0].startswith("Tilt: each slice is shifted by 0.6 mm")
    assert "8.53 degrees" in info.notes[0]
    by_sitk = np.array(_read_by_sitk(folder).GetDirection()).reshape(3, 3)
    assert not np.allclose(by_sitk[:, 2], TILTED.direction[:, 0])


def test_slices_off_the_line_are_refused(series):
    xs = (-10.5, -10.5, -9, -10.5, -10.5)
    folder = series(lambda dataset, i: _move(dataset, 300 + 2 * i, xs[i]))
    with pytest.raises(volumes.VolumeError, match=r"slice_3\.dcm is 1\.5 mm off"):
        volumes.read(folder)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("ImageOrientationPatient", [0, 1, 0, 0, 0, 1], "ImageOrientationPatient"),
        ("ImageOrientationPatient", [0, 0, 0, 0, 1, 0], "two unit vectors"),
        ("ImageOrientationPatient", [1, 0, 0, 0.6, 0.8, 0], "right angles"),
        ("PixelSpacing", [1, 2], "PixelSpacing"),
        ("Rows", 4, "Rows is 3 in slice_1.dcm, and 4 in slice_3.dcm"),
        ("PhotometricInterpretation", "PALETTE COLOR", "palette"),
        ("ImagePositionPatient", None, "do not say where"),
    ],
)
def test_slices_that_differ_are_refused_with_their_names(name, value, says, series):
    def change(dataset, i):
        if i == 2:
            setattr(dataset, name, value)

    with pytest.raises(volumes.VolumeError, match=rf"(?s){says}|slice_3.*{says}"):
        volumes.read(series(change))


def test_pixel_spacing_is_along_a_column_first(series):
    def change(dataset, i):
        dataset.PixelSpacing = [2, 3]  # between rows, between columns

    np.testing.assert_allclose(
        volumes.info(series(change)).geometry.spacing_mm, (2, 2, 3)
    )


def test_of_several_series_in_a_folder_one_is_named(series):
    a = series(name="a")
    b = series(name="b", array=random_array((2, 3, 4)))
    (found,) = {str(pydicom.dcmread(f).SeriesInstanceUID) for f in b.iterdir()}
    for file in a.iterdir():
        shutil.copy(file, b / f"a_{file.name}")
    with pytest.raises(
        volumes.VolumeError, match=r"(?s)2 series.*: 5 files, CT"
    ) as error:
        volumes.read(b)
    assert f"{found}: 2 files, CT" in str(error.value)
    image = volumes.read(b / found)
    np.testing.assert_array_equal(image.array, random_array((2, 3, 4)))
    with pytest.raises(volumes.VolumeError, match=r"no series '1\.2\.3\.4'"):
        volumes.info(b / "1.2.3.4")


def test_damaged_files_and_folders_without_images_are_told(series, tmp_path):
    folder = series()
    file = folder / "slice_3.dcm"
    content = file.read_bytes()
    file.write_bytes(content[:-10])
    with pytest.raises(
        volumes.VolumeError, match=r"slice_3\.dcm is cut off or damaged"
    ):
        volumes.read(folder)
    file.write_bytes(content[:100])
    with pytest.raises(volumes.VolumeError, match=r"slice_3\.dcm is cut off, damaged"):
        volumes.read(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(volumes.VolumeError, match="empty has no DICOM images"):
        volumes.read(tmp_path / "empty")


def test_frames_of_one_file_are_slices(tmp_path, series):
    """An enhanced CT: positions are in the sequence of each frame."""
    folder = series()
    files = sorted(folder.iterdir())
    slices = [pydicom.dcmread(file) for file in files]
    dataset = slices[0]
    dataset.NumberOfFrames = len(slices)
    dataset.PixelData = b"".join(s.PixelData for s in slices)
    shared, measures = pydicom.Dataset(), pydicom.Dataset()
    measures.PixelSpacing = dataset.PixelSpacing
    shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    groups = []
    for s in slices:
        plane, group = pydicom.Dataset(), pydicom.Dataset()
        plane.ImagePositionPatient = s.ImagePositionPatient
        group.PlanePositionSequence = [plane]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    del dataset.ImagePositionPatient, dataset.PixelSpacing
    dataset.save_as(tmp_path / "frames.dcm")
    image = volumes.read(tmp_path / "frames.dcm")
    np.testing.assert_array_equal(image.array, random_array(SHAPE))
    assert farthest_mm(image.geometry, STRAIGHT, SHAPE) < 1e-9


def test_one_slice_takes_its_thickness(series):
    folder = series()
    file = folder / "slice_2.dcm"
    info = volumes.info(file)
    assert info.shape == (1, 3, 4)
    np.testing.assert_allclose(info.geometry.spacing_mm, STRAIGHT.spacing_mm)
    np.testing.assert_allclose(info.geometry.origin, STRAIGHT.to_world((1, 0, 0)))


def test_what_one_slice_does_not_say_is_told(series):
    def strip(dataset, i):
        dataset.PhotometricInterpretation = "MONOCHROME1"
        del dataset.ImagePositionPatient, dataset.SliceThickness
        del dataset.SpacingBetweenSlices

    info = volumes.info(series(strip) / "slice_2.dcm")
    kinds = [note.partition(":")[0] for note in info.notes]
    assert kinds == ["No placement", "Thickness", "Inverted"]
    np.testing.assert_allclose(info.geometry.spacing_mm, (1, 0.75, 0.5))


def test_doses_are_scaled_and_placed_by_their_own_fields(tmp_path, series):
    dataset = pydicom.dcmread(sorted(series().iterdir())[0])
    array = random_array((3, 3, 4), "uint16")
    dataset.NumberOfFrames = 3
    dataset.PixelRepresentation = 0
    dataset.PixelData = array.tobytes()
    dataset.DoseGridScaling = "0.5"
    dataset.GridFrameOffsetVector = [0, 4, 8]
    del dataset.RescaleSlope, dataset.RescaleIntercept
    dataset.save_as(tmp_path / "dose.dcm")
    image = volumes.read(tmp_path / "dose.dcm")
    np.testing.assert_array_equal(image.array, array * 0.5)
    np.testing.assert_allclose(image.geometry.spacing_mm, (4, 0.75, 0.5))
    np.testing.assert_allclose(image.geometry.origin, STRAIGHT.origin)


def test_files_without_an_image_are_told(tmp_path, series):
    folder = series()
    dataset = pydicom.dcmread(folder / "slice_1.dcm")
    del dataset.Rows
    dataset.save_as(tmp_path / "plan.dcm")
    with pytest.raises(volumes.VolumeError, match=r"plan\.dcm is .* without an image"):
        volumes.info(tmp_path / "plan.dcm")
    dataset = pydicom.dcmread(folder / "slice_1.dcm")
    dataset.ModalityLUTSequence = [pydicom.Dataset()]
    dataset.save_as(tmp_path / "table.dcm")
    with pytest.raises(volumes.VolumeError, match=r"table\.dcm: .*ModalityLUTSequence"):
        volumes.info(tmp_path / "table.dcm")


def test_packed_pixels_without_a_decoder_are_told(series):
    def pack(dataset, i):
        dataset.file_meta.TransferSyntaxUID = uids.JPEG2000Lossless
        dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51"])
        dataset["PixelData"].is_undefined_length = True

    folder = series(pack)
    with pytest.raises(volumes.VolumeError, match=r"(?s)slice_1\.dcm.*pylibjpeg"):
        volumes.read(folder)


def test_a_series_is_written_to_a_folder(tmp_path):
    image = volumes.Image(random_array(SHAPE))
    with pytest.raises(volumes.VolumeError, match=r"a folder; call it .*x\.dicom"):
        volumes.write(tmp_path / "x.dcm", image)
    volumes.write(tmp_path / "x.dicom", image)
    names = sorted(path.name for path in pathlib.Path(tmp_path / "x.dicom").iterdir())
    assert names == [f"slice_{i}.dcm" for i in range(1, 6)]
