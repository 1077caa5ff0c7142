"""NIfTI: placements, scaling and axes, against nibabel and SimpleITK."""

from __future__ import annotations

import re

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from kauldron.kd import volumes
from kauldron.volumes.files import _notes
from tests.volumes.files.volumes import (
    FLIPPED,
    OBLIQUE,
    SHEARED,
    farthest_mm,
    random_array,
)

SHAPE = (4, 5, 6)
_TO_LPS = np.diag([-1.0, -1, 1, 1])


def _save(path, array, affine, q_affine=None, s_code=1, q_code=0, **fields):
    """Saves `[x y z ...]` with nibabel."""
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, s_code)
    image.set_qform(affine if q_affine is None else q_affine, q_code)
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def _points(geometry):
    """World points, LPS, of voxel (0, 0, 0) and of steps along x, y, z."""
    return geometry.to_world([(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)])


def _nibabel_points(affine):
    index = np.array([[0, 0, 0, 1], [1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1]])
    return (index @ (_TO_LPS @ affine).T)[:, :3]


def _sitk_points(path):
    image = sitk.ReadImage(path)
    index = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    return np.array([image.TransformIndexToPhysicalPoint(i) for i in index])


AFFINE = np.array([[-2.0, 0, 0, 90], [0, 1.5, 0, -126], [0, 0, 3.0, -72], [0, 0, 0, 1]])
OTHER = np.array([[2.0, 0, 0, 0], [0, 1.5, 0, 0], [0, 0, 3.0, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(("s_code", "q_code"), [(1, 0), (4, 0), (1, 1), (0, 1), (2, 2)])
def test_placement_is_that_of_nibabel_and_simpleitk_where_the_forms_agree(
    s_code, q_code, tmp_path
):
    array = random_array(SHAPE).T[0]
    path = _save(tmp_path / "x.nii", array, AFFINE, None, s_code, q_code)
    image = volumes.read(path)
    np.testing.assert_array_equal(image.array[..., 0], array.T)
    np.testing.assert_allclose(_points(image.geometry), _nibabel_points(AFFINE))
    np.testing.assert_allclose(_points(image.geometry), _sitk_points(path))
    assert volumes.info(path).notes == ()


@pytest.mark.parametrize(
    ("s_code", "other", "far", "says"),
    [
        # The first corner, or the one at the end of x, is the farthest.
        (1, OTHER, np.linalg.norm((90, -126, -72)), "SimpleITK uses it, too"),
        (2, OTHER, np.linalg.norm((90, -126, -72)), r"uses the qform \(code 1\)"),
        # Both have the same origin; 3 steps of 3 mm up, or down.
        (2, AFFINE @ np.diag([1, 1, -1, 1]), 18, "SimpleITK uses it, too"),
    ],
)
def test_forms_that_disagree_are_told_with_their_distance(
    s_code, other, far, says, tmp_path
):
    array = random_array(SHAPE).T[0]
    path = _save(tmp_path / "x.nii", array, AFFINE, other, s_code, 1)
    (note,) = volumes.info(path).notes
    assert f"up to {far:.3g} mm apart" in note
    assert re.search(says, note)
    ours = _points(volumes.info(path).geometry)
    np.testing.assert_allclose(ours, _nibabel_points(AFFINE))
    agrees = np.allclose(ours, _sitk_points(path))
    assert agrees == ("too" in says)


def test_a_disagreement_is_one_warning_however_many_files_have_it(tmp_path, capsys):
    _notes.forget()
    for name in ("a.nii", "b.nii"):
        path = tmp_path / name
        _save(path, random_array(SHAPE).T[0], AFFINE, OTHER, 2, 1)
        volumes.read(path)
    told = capsys.readouterr().err
    assert told.count("Two placements") == 1
    assert "a.nii" in told


def test_a_file_without_placement_is_told_and_read_as_by_nibabel(tmp_path):
    path = _save(tmp_path / "x.nii", random_array(SHAPE).T[0], AFFINE, None, 0, 0)
    info = volumes.info(path)
    assert info.notes[0].startswith("No placement: sform_code and qform_code are 0.")
    expected = _nibabel_points(nibabel.load(path).affine)
    np.testing.assert_allclose(_points(info.geometry), expected)
    assert not np.allclose(expected, _sitk_points(path))


def test_labels_that_nibabel_stretched_are_told(tmp_path):
    labels = np.zeros((6, 5, 4))
    labels[0] = 1
    labels[1] = 116
    image = nibabel.Nifti1Image(labels, AFFINE, dtype=np.uint8)
    nibabel.save(image, tmp_path / "x.nii")
    found = volumes.read(tmp_path / "x.nii").array
    assert found.dtype == np.float64
    np.testing.assert_array_equal(
        found[..., 0].T, nibabel.load(tmp_path / "x.nii").dataobj
    )
    assert 1 not in found  # it is 0.91, and `int` makes it 0
    (note,) = volumes.info(tmp_path / "x.nii").notes
    assert note.startswith("Scaled: the values are uint8 times 0.4549")


def test_whole_slopes_keep_integers(tmp_path):
    array = random_array(SHAPE).T[0]
    path = _save(tmp_path / "x.nii", array, AFFINE, scl_slope=np.nan, scl_inter=np.nan)
    with open(path, "r+b") as file:  # nibabel itself resets the fields
        file.seek(112)
        file.write(np.array([2, -1024], "<f4").tobytes())
    image = volumes.read(path)
    assert image.array.dtype == volumes.info(path).dtype == np.int32
    np.testing.assert_array_equal(image.array[..., 0], array.T.astype(int) * 2 - 1024)
    np.testing.assert_array_equal(image.array[..., 0].T, nibabel.load(path).dataobj)


def test_times_and_components_are_channels(tmp_path):
    array = random_array((5, 6, 7, 2), num_channels=3)  # [x y z t v]
    nibabel.save(nibabel.Nifti1Image(array, AFFINE), tmp_path / "both.nii")
    image = volumes.read(tmp_path / "both.nii")
    assert image.array.shape == (7, 6, 5, 6)
    # Channel 3: component 1 at time 1.
    np.testing.assert_array_equal(image.array[..., 3], array[..., 1, 1].T)
    assert volumes.info(tmp_path / "both.nii").notes[0].startswith("Channels: 2 times")
    region = volumes.Region((1, 2, 3), (3, 4, 5))
    part = volumes.read(tmp_path / "both.nii", region=region).array
    np.testing.assert_array_equal(part, image.array[region.slices])


def test_vectors_of_simpleitk_and_colours_are_channels(tmp_path):
    vectors = random_array(SHAPE, "float32", num_channels=3)
    path = tmp_path / "x.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(vectors, isVector=True), path)
    np.testing.assert_array_equal(volumes.read(path).array, vectors)
    colours = random_array(SHAPE, "uint8", num_channels=3)
    rgb = np.ascontiguousarray(colours.transpose(2, 1, 0, 3)).view(
        [("R", "u1"), ("G", "u1"), ("B", "u1")]
    )
    nibabel.save(nibabel.Nifti1Image(rgb[..., 0], AFFINE), tmp_path / "rgb.nii")
    np.testing.assert_array_equal(volumes.read(tmp_path / "rgb.nii").array, colours)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz"])
def test_what_is_written_is_read_alike_by_nibabel_and_simpleitk(name, tmp_path):
    array = random_array(SHAPE, num_channels=2)
    path = tmp_path / name
    volumes.write(path, volumes.Image(array, OBLIQUE))
    by_nibabel = nibabel.load(path)
    assert by_nibabel.get_data_dtype() == np.int16
    np.testing.assert_array_equal(
        np.asarray(by_nibabel.dataobj).T, array.transpose(3, 0, 1, 2)
    )
    assert (by_nibabel.header["qform_code"], by_nibabel.header["sform_code"]) == (1, 1)
    # The header holds f32: 6e-5 mm at a coordinate of 1234 mm.
    expected = _points(OBLIQUE)
    np.testing.assert_allclose(_nibabel_points(by_nibabel.affine), expected, atol=1e-4)
    by_sitk = sitk.ReadImage(path)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(by_sitk), array.transpose(3, 0, 1, 2)
    )
    np.testing.assert_allclose(by_sitk.GetOrigin()[:3], OBLIQUE.origin, atol=1e-4)


@pytest.mark.parametrize("geometry", [FLIPPED, OBLIQUE])
def test_simpleitk_finds_the_voxels_where_they_were_put(geometry, tmp_path):
    path = tmp_path / "x.nii"
    volumes.write(path, volumes.Image(random_array(SHAPE), geometry))
    np.testing.assert_allclose(_sitk_points(path), _points(geometry), atol=1e-4)


def test_exact_positions_are_dropped_once_another_program_moved_the_volume(tmp_path):
    path = tmp_path / "x.nii.gz"
    volumes.write(path, volumes.Image(random_array(SHAPE), OBLIQUE))
    image = nibabel.load(path)
    kept, moved = tmp_path / "kept.nii", tmp_path / "moved.nii"
    nibabel.save(image, kept)
    image.set_sform(AFFINE, 1)
    image.set_qform(AFFINE, 1)
    nibabel.save(image, moved)
    assert farthest_mm(volumes.info(kept).geometry, OBLIQUE, SHAPE) < 1e-9
    ours = _points(volumes.info(moved).geometry)
    np.testing.assert_allclose(ours, _nibabel_points(AFFINE))


def test_int64_labels_are_written_as_they_are(tmp_path):
    labels = random_array(SHAPE, "int64")
    path = tmp_path / "x.nii"
    volumes.write(path, volumes.Image(labels))
    np.testing.assert_array_equal(volumes.read(path).array, labels)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(path)), labels[..., 0]
    )


@pytest.mark.parametrize("dtype", ["bool", "float16", "complex64"])
def test_dtypes_without_a_code_are_refused_and_other_formats_named(dtype, tmp_path):
    array = np.zeros(SHAPE, dtype)
    with pytest.raises(volumes.VolumeError, match=dtype) as error:
        volumes.write(tmp_path / "x.nii", volumes.Image(array))
    assert (".npy" in str(error.value)) == (dtype != "complex64")
    assert list(tmp_path.iterdir()) == []


def test_shear_is_kept_in_the_sform_and_told(tmp_path):
    path = tmp_path / "x.nii"
    volumes.write(path, volumes.Image(random_array(SHAPE), SHEARED))
    info = volumes.info(path)
    assert farthest_mm(info.geometry, SHEARED, SHAPE) < 1e-5
    assert info.notes[0].startswith("Shear")
    np.testing.assert_allclose(
        _nibabel_points(nibabel.load(path).affine), _points(SHEARED), atol=1e-5
    )


@pytest.mark.parametrize("code", [1, 3])
def test_units_other_than_millimetres_are_converted_and_told(code, tmp_path):
    path = _save(tmp_path / "x.nii", random_array(SHAPE).T[0], AFFINE, xyzt_units=code)
    info = volumes.info(path)
    factor = {1: 1e3, 3: 1e-3}[code]
    np.testing.assert_allclose(info.geometry.spacing_mm, np.array([3, 1.5, 2]) * factor)
    assert info.notes[0].startswith("Unit")


def test_spacing_of_zero_and_numbers_that_are_not_finite_are_told(tmp_path):
    array = random_array(SHAPE).T[0]
    path = _save(tmp_path / "q.nii", array, AFFINE, None, 0, 1)
    content = bytearray(path.read_bytes())
    content[80:84] = bytes(4)  # pixdim[1]
    path.write_bytes(content)
    with pytest.raises(
        volumes.VolumeError, match=r"q\.nii: the spacing .*\(0\.0, 1\.5"
    ):
        volumes.read(path)
    for name, value in (("zero", 0), ("nan", np.nan)):
        affine = AFFINE.copy()
        affine[0, 0] = value
        path = _save(tmp_path / f"{name}.nii", array, AFFINE)
        content = bytearray(path.read_bytes())
        content[280:284] = np.array(value, "<f4").tobytes()  # srow_x[0]
        path.write_bytes(content)
        with pytest.raises(
            volumes.VolumeError, match=rf"{name}\.nii: .*(spacing|finite)"
        ):
            volumes.read(path)


def _with_bytes(path, place, content):
    changed = bytearray(path.read_bytes())
    changed[place : place + len(content)] = content
    path.write_bytes(changed)
    return path


def test_a_qfac_of_zero_is_one_as_the_standard_says(tmp_path):
    path = _save(tmp_path / "x.nii", random_array(SHAPE).T[0], OTHER, None, 0, 1)
    _with_bytes(path, 76, bytes(4))
    ours = _points(volumes.info(path).geometry)
    np.testing.assert_allclose(ours, _nibabel_points(OTHER))
    np.testing.assert_allclose(ours, _sitk_points(path))


def test_a_qform_that_is_no_rotation_is_told_beside_a_sform(tmp_path):
    path = _save(tmp_path / "x.nii", random_array(SHAPE).T[0], AFFINE, None, 1, 1)
    _with_bytes(path, 256, np.array([3, 0, 0], "<f4").tobytes())
    assert volumes.info(path).notes[0].startswith("Bad qform")


@pytest.mark.parametrize(
    ("place", "content", "says"),
    [
        (70, b"\x20\0", "complex64"),  # datatype
        (70, b"\x63\0", "no datatype with the code 99"),
        (40, b"\x06\0\x06\0\x05\0\x04\0\x01\0\x01\0\x02\0", "no volume"),  # dim
        (344, b"ni1", "header of a pair"),  # magic
        (0, b"\0\0\0\0", "no NIfTI file"),
    ],
)
def test_what_no_volume_can_be_is_refused(place, content, says, tmp_path):
    path = _save(tmp_path / "x.nii", random_array(SHAPE).T[0], AFFINE)
    with pytest.raises(volumes.VolumeError, match=rf"x\.nii.*{says}"):
        volumes.read(_with_bytes(path, place, content))


def test_a_packed_file_that_was_written_whole_cannot_be_changed(tmp_path):
    whole = volumes.Region.whole(SHAPE)
    with volumes.open_region_writer(
        tmp_path / "x.nii.gz", shape=SHAPE, dtype="int16", geometry=OBLIQUE
    ) as writer:
        writer.write(whole, random_array(SHAPE))
        with pytest.raises(volumes.VolumeError, match="written already"):
            writer.write(whole, random_array(SHAPE))


def test_big_endian_files_and_nifti_2_are_read(tmp_path):
    array = random_array(SHAPE).T[0]
    header = nibabel.Nifti1Header(endianness=">")
    big = nibabel.Nifti1Image(array, AFFINE, header)
    big.set_data_dtype(np.int16)
    second = nibabel.Nifti2Image(array, AFFINE)
    for i, image in enumerate((big, second)):
        nibabel.save(image, tmp_path / f"{i}.nii")
        found = volumes.read(tmp_path / f"{i}.nii")
        np.testing.assert_array_equal(found.array[..., 0], array.T)
        assert found.array.dtype == np.int16
        np.testing.assert_allclose(_points(found.geometry), _nibabel_points(AFFINE))
