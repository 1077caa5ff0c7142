"""MetaImage and NRRD, with SimpleITK as the other program."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from kauldron.kd import volumes
from tests.volumes.files.volumes import GEOMETRIES, OBLIQUE, farthest_mm, random_array

SHAPE = (4, 5, 6)
NAMES = ("x.mha", "x.mhd", "x.nrrd")
DTYPES = [f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)]
DTYPES += ["float32", "float64"]


def _sitk_image(array, geometry):
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.SetSpacing(geometry.spacing_mm[::-1].tolist())
    image.SetOrigin(geometry.origin.tolist())
    image.SetDirection(geometry.direction[:, ::-1].ravel().tolist())
    return image


def _geometry_of(image):
    direction = np.array(image.GetDirection()).reshape(3, 3)[:, ::-1]
    matrix = direction * np.array(image.GetSpacing())[::-1]
    return volumes.Geometry(matrix=matrix, origin=np.array(image.GetOrigin()))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("placed", GEOMETRIES)
def test_simpleitk_reads_the_same_places_even_with_shear(name, placed, tmp_path):
    array = random_array(SHAPE, num_channels=3)
    volumes.write(tmp_path / name, volumes.Image(array, GEOMETRIES[placed]))
    image = sitk.ReadImage(tmp_path / name)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array)
    assert farthest_mm(_geometry_of(image), GEOMETRIES[placed], SHAPE) < 1e-9


@pytest.mark.parametrize("name", [*NAMES, "x.nhdr"])
@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("num_channels", [1, 3])
def test_files_of_simpleitk_are_read(name, is_packed, num_channels, tmp_path):
    array = random_array(SHAPE, "uint16", num_channels)
    image = _sitk_image(array if num_channels > 1 else array[..., 0], OBLIQUE)
    sitk.WriteImage(image, tmp_path / name, useCompression=is_packed)
    found = volumes.read(tmp_path / name)
    np.testing.assert_array_equal(found.array, array)
    assert farthest_mm(found.geometry, OBLIQUE, SHAPE) < 1e-9
    region = volumes.Region((1, 2, 3), (3, 5, 4))
    part = volumes.read(tmp_path / name, region=region).array
    np.testing.assert_array_equal(part, array[region.slices])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["x.mha", "x.nrrd"])
def test_every_dtype_goes_both_ways(name, dtype, tmp_path):
    array = random_array(SHAPE, dtype)
    ours, theirs = tmp_path / name, tmp_path / f"sitk_{name}"
    volumes.write(ours, volumes.Image(array))
    image = sitk.ReadImage(ours)
    assert sitk.GetArrayFromImage(image).dtype == dtype
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), array[..., 0])
    sitk.WriteImage(image, theirs)
    found = volumes.read(theirs).array
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize("name", ["x.mha", "x.nrrd"])
def test_times_and_single_slices_of_simpleitk_are_read(name, tmp_path):
    times = random_array((2, *SHAPE))[..., 0]
    image = sitk.JoinSeries([sitk.GetImageFromArray(t) for t in times])
    sitk.WriteImage(image, tmp_path / name)
    found = volumes.read(tmp_path / name).array
    np.testing.assert_array_equal(found, times.transpose(1, 2, 3, 0))
    flat = sitk.GetImageFromArray(times[0, 0])
    flat.SetSpacing((0.5, 0.7))
    sitk.WriteImage(flat, tmp_path / f"flat_{name}")
    found = volumes.read(tmp_path / f"flat_{name}")
    np.testing.assert_array_equal(found.array[0, ..., 0], times[0, 0])
    np.testing.assert_allclose(found.geometry.spacing_mm, (1, 0.7, 0.5))


def _nrrd(path, fields, array, spaces=3):
    lines = {
        "type": "int16",
        "dimension": spaces,
        "encoding": "raw",
        "endian": "little",
        **fields,
    }
    text = "\n".join(f"{name}: {value}" for name, value in lines.items())
    path.write_bytes(f"NRRD0004\n{text}\n\n".encode() + array.tobytes())
    return path


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (1, 1, 1)),
        ("RAS", (-1, -1, 1)),
        ("left-anterior-superior", (1, -1, 1)),
        ("scanner-xyz", (1, 1, 1)),
    ],
)
def test_worlds_of_nrrd_become_lps(space, signs, tmp_path):
    fields = {
        "space": space,
        "sizes": "6 5 4",
        "space directions": "(2,0,0) (0,3,0) (0.5,0,4)",
        "space origin": "(10,20,30)",
    }
    array = random_array(SHAPE)
    path = _nrrd(tmp_path / "x.nrrd", fields, array)
    found = volumes.read(path)
    signs = np.array(signs)
    np.testing.assert_array_equal(found.array, array)
    np.testing.assert_allclose(found.geometry.origin, signs * (10, 20, 30))
    np.testing.assert_allclose(found.geometry.matrix[:, 0], signs * (0.5, 0, 4))
    by_sitk = _geometry_of(sitk.ReadImage(path))
    assert farthest_mm(found.geometry, by_sitk, SHAPE) < 1e-9
    assert bool(volumes.info(path).notes) == (space == "scanner-xyz")


def test_components_of_nrrd_may_be_the_first_or_the_last_axis(tmp_path):
    array = random_array(SHAPE, num_channels=2)
    common = {"space": "LPS", "space origin": "(0,0,0)"}
    first = {
        "sizes": "2 6 5 4",
        "kinds": "vector domain domain domain",
        "space directions": "(nan,nan,nan) (1,0,0) (0,1,0) (0,0,1)",
    }
    last = {
        "sizes": "6 5 4 2",
        "kinds": "domain domain domain list",
        "space directions": "(1,0,0) (0,1,0) (0,0,1) none",
    }
    for name, fields, stored in (
        ("first", first, array),
        ("last", last, array.transpose(3, 0, 1, 2)),
    ):
        path = _nrrd(tmp_path / f"{name}.nrrd", common | fields, stored, 4)
        np.testing.assert_array_equal(volumes.read(path).array, array)


def test_lengths_in_micrometres_are_converted_and_told(tmp_path):
    fields = {
        "space": "LPS",
        "sizes": "6 5 4",
        "space directions": "(500,0,0) (0,500,0) (0,0,2000)",
        "space origin": "(0,0,1000)",
        "space units": '"um" "um" "um"',
    }
    path = _nrrd(tmp_path / "x.nrrd", fields, random_array(SHAPE))
    info = volumes.info(path)
    np.testing.assert_allclose(info.geometry.spacing_mm, (2, 0.5, 0.5))
    np.testing.assert_allclose(info.geometry.origin, (0, 0, 1))
    assert info.notes[0].startswith("Unit")
    np.testing.assert_allclose(sitk.ReadImage(path).GetSpacing(), (500, 500, 2000))


def test_nrrd_without_space_is_told(tmp_path):
    fields = {"sizes": "6 5 4", "spacings": "0.5 0.5 2"}
    path = _nrrd(tmp_path / "x.nrrd", fields, random_array(SHAPE))
    info = volumes.info(path)
    np.testing.assert_allclose(info.geometry.spacing_mm, (2, 0.5, 0.5))
    assert info.notes[0].startswith("No placement")


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("x.mha", "NDims = 3", "NDims = 5", "DimSize.*5 numbers"),
        ("x.mha", "MET_SHORT", "MET_OTHER", "no ElementType 'MET_OTHER'"),
        ("x.mha", "ElementSpacing = 0.5", "ElementSpacing = 0", "spacing"),
        ("x.mha", "Offset = -10.5", "Offset = nan", "not finite"),
        ("x.mha", "Offset = -10.5", "Offset = a", "`Offset` must be 3 numbers"),
        ("x.mhd", "x.raw", "y.raw", "no .*y.raw.*belong together"),
        ("x.mhd", "x.raw", "LIST", "a file for each slice"),
        ("x.nrrd", "type: int16", "type: block", "'block'"),
        ("x.nrrd", "encoding: raw", "encoding: hex", "'hex' cannot be read"),
        ("x.nrrd", "(0.5,0.0,0.0)", "(0.0,0.0,0.0)", "spacing"),
        ("x.nrrd", "(-10.5", "(nan", "not finite"),
        ("x.nrrd", "sizes: 6 5 4\n", "", "lacks sizes"),
        ("x.mha", "DimSize = 6 5 4", "DimSize = 6 5 0", "no volume"),
        ("x.nrrd", "sizes: 6 5 4", "sizes: 6 5 4 2", "of 4 axes"),
        ("x.nrrd", "sizes: 6 5 4", "sizes: 6 5 0", "three axes of space"),
        ("x.nrrd", "space origin", 'space units: "ell"\nspace origin', "'ell'"),
        ("x.nrrd", "encoding", "data file: LIST\nencoding", "several files"),
        ("x.nrrd", "encoding", "data file: y\nencoding", "no .*y, which holds"),
        ("x.nrrd", "raw\n", "gz\nbyte skip: 3\n", "`byte skip` of packed values"),
    ],
)
def test_bad_headers_are_told_with_the_file(name, old, new, says, tmp_path):
    path = tmp_path / name
    geometry = GEOMETRIES["straight"]
    volumes.write(path, volumes.Image(random_array(SHAPE), geometry))
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    with pytest.raises(volumes.VolumeError, match=f"(?s){name}.*{says}"):
        volumes.read(path)


def test_values_may_be_in_another_folder_and_behind_a_header(tmp_path):
    path, array = tmp_path / "x.mhd", random_array(SHAPE)
    volumes.write(path, volumes.Image(array))
    (tmp_path / "data").mkdir()
    values = (tmp_path / "x.raw").read_bytes()
    (tmp_path / "data" / "x.bin").write_bytes(b"0123456789" + values)
    text = path.read_text().replace("x.raw", "data/x.bin")
    for skip in (10, -1):
        path.write_text(f"HeaderSize = {skip}\n{text}")
        np.testing.assert_array_equal(volumes.read(path).array, array)
    header = "type: int16\ndimension: 3\nsizes: 6 5 4\nendian: little\nencoding: raw\n"
    for skip in ("byte skip: 10", "byte skip: -1"):
        text = f"NRRD0004\n{header}data file: data/x.bin\n{skip}\n"
        (tmp_path / "x.nhdr").write_text(text)
        np.testing.assert_array_equal(volumes.read(tmp_path / "x.nhdr").array, array)
    (tmp_path / "data" / "x.bin").write_bytes(b"first\nsecond\n" + values)
    text = f"NRRD0004\n{header}data file: data/x.bin\nline skip: 2\n"
    (tmp_path / "x.nhdr").write_text(text)
    np.testing.assert_array_equal(volumes.read(tmp_path / "x.nhdr").array, array)


def test_what_a_metaimage_does_not_say_or_asks_for_is_told(tmp_path):
    path = tmp_path / "x.mha"
    array = random_array(SHAPE)
    header = "NDims = 3\nDimSize = 6 5 4\nElementType = MET_SHORT\n"
    slope = "ElementToIntensityFunctionSlope = 2\n"
    for more in (slope, "ElementSize = 1 2 3\n"):
        path.write_bytes(
            f"{header}{more}ElementDataFile = LOCAL\n".encode() + array.tobytes()
        )
        np.testing.assert_array_equal(volumes.read(path).array, array)
        kinds = [note.partition(":")[0] for note in volumes.info(path).notes]
        assert kinds == ["No placement", "Intensity"][: 1 + (more == slope)]
    np.testing.assert_array_equal(volumes.info(path).geometry.spacing_mm, (3, 2, 1))
    header = "NDims = 4\nDimSize = 6 5 4 2\nElementType = MET_SHORT\n"
    path.write_text(f"{header}ElementNumberOfChannels = 2\nElementDataFile = LOCAL\n")
    with pytest.raises(volumes.VolumeError, match="2 times of 2 components"):
        volumes.info(path)


def test_detached_headers_of_nrrd_are_not_written(tmp_path):
    with pytest.raises(volumes.VolumeError, match=r"x\.nhdr: write `\.nrrd`"):
        volumes.write(tmp_path / "x.nhdr", volumes.Image(random_array(SHAPE)))


def test_a_text_that_is_no_header_is_told(tmp_path):
    for name in NAMES:
        (tmp_path / name).write_text("something else")
        with pytest.raises(
            volumes.VolumeError, match=f"{name} is .*no (MetaImage|NRRD) file"
        ):
            volumes.info(tmp_path / name)
