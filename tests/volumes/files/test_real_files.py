"""Real volumes, out of packages: atlases, a sheared scan, a head CT, DICOM; all slow."""

from __future__ import annotations

import io
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import nibabel
import numpy as np
import pydicom.data
import pytest
import SimpleITK as sitk

from kauldron.data import _fetch
from kauldron.kd import volumes
from tests.volumes.files.volumes import farthest_mm

pytestmark = pytest.mark.slow

_NIBABEL = pathlib.Path(nibabel.__file__).parent / "tests" / "data"
_TO_LPS = np.diag([-1.0, -1, 1, 1])


def _package(folder, *command):
    """Downloads a package; returns its files, or skips where there is no registry."""
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    found = [*folder.glob("*.whl"), *folder.glob("*.deb")]
    if result.returncode or not found:
        pytest.skip(f"{' '.join(command[-1:])} cannot be downloaded: {result.stderr}")
    return found[0]


def _deb(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp(name)
    package = _package(folder, "apt-get", "download", "--quiet", name)
    return _fetch._unpack_deb(package.read_bytes())


@pytest.fixture(scope="module")
def atlases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("atlases")
    for name, content in _deb(tmp_path_factory, "mricron-data").items():
        if name.endswith(".nii.gz"):
            (folder / pathlib.PurePosixPath(name).name).write_bytes(content)
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dipy")
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps")
    package = _package(folder, *pip, "--only-binary", ":all:", "dipy==1.12.1")
    with zipfile.ZipFile(package) as archive:
        for name in archive.namelist():
            if name.startswith("dipy/data/files/") and ".nii" in name:
                path = folder / pathlib.PurePosixPath(name).name
                path.write_bytes(archive.read(name))
    return folder


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head CT, as an image and as a folder of DICOM."""
    files = _deb(tmp_path_factory, "invesalius-examples")
    (project,) = (content for name, content in files.items() if name.endswith(".inv3"))
    with tarfile.open(fileobj=io.BytesIO(project)) as archive:
        (name,) = (n for n in archive.getnames() if n.endswith("matrix.dat"))
        member = archive.extractfile(name)
        assert member is not None
        values = np.frombuffer(member.read(), np.int16)
    geometry = volumes.Geometry.make((1.5, 0.95703125, 0.95703125))
    image = volumes.Image(values.reshape(108, 256, 256), geometry)
    folder = tmp_path_factory.mktemp("head") / "ct.dicom"
    volumes.write(folder, image)
    return image, folder


def _check_against_nibabel(path):
    expected = nibabel.load(path)
    array = np.asarray(expected.dataobj)
    array = array.reshape((*array.shape, 1)[: max(array.ndim, 4)])
    image = volumes.read(path)
    np.testing.assert_array_equal(image.array, array.transpose(2, 1, 0, 3))
    affine = _TO_LPS @ expected.affine
    np.testing.assert_allclose(image.geometry.matrix, affine[:3, 2::-1], atol=1e-6)
    np.testing.assert_allclose(image.geometry.origin, affine[:3, 3], atol=1e-4)
    return image


def _agrees_with_simpleitk(path, image):
    found = sitk.ReadImage(path)
    ends = np.stack(
        np.meshgrid(*[(0, size - 1) for size in image.shape[::-1]]), -1
    ).reshape(-1, 3)
    rest = [0] * (found.GetDimension() - 3)
    theirs = [found.TransformIndexToPhysicalPoint([*map(int, e), *rest]) for e in ends]
    ours = image.geometry.to_world(ends[:, ::-1])
    return np.abs(np.array(theirs)[:, :3] - ours).max() < 0.02


def test_atlases_are_read_as_by_nibabel_and_what_simpleitk_does_is_told(atlases):
    apart = {}
    for path in sorted(atlases.glob("*.nii.gz")):
        image = _check_against_nibabel(path)
        notes = " ".join(volumes.info(path).notes)
        if "Two placements" in notes:
            apart[path.name.partition(".")[0].partition("-")[0]] = notes
        assert _agrees_with_simpleitk(path, image) == ("uses the qform" not in notes)
    told = {name for name, notes in apart.items() if "uses the qform" in notes}
    assert told == {"AICHAmc", "HarvardOxford", "jhu189", "natbrainlab"}
    assert set(apart) == told | {"JHU", "inia19"}


def test_labels_of_a_real_subject_survive_every_format(atlases, tmp_path):
    image = volumes.read(atlases / "aal.nii.gz")
    assert len(np.unique(image.array)) == 117  # and the background
    for name in ("x.nii", "x.mha", "x.nrrd", "x.ome.zarr", "x.h5", "x.npy", "x.dicom"):
        volumes.write(tmp_path / name, image)
        found = volumes.read(tmp_path / name)
        # Slices lie along the normal: x of this one is mirrored.
        is_turned = found.geometry.matrix[2, 0] * image.geometry.matrix[2, 0] < 0
        expected = image.array[::-1] if is_turned else image.array
        np.testing.assert_array_equal(found.array, expected)
        if not is_turned:
            assert farthest_mm(found.geometry, image.geometry, image.shape) <= 1e-5


def test_scans_of_dipy_and_nibabel_are_read_as_by_nibabel(scans):
    paths = sorted(scans.glob("*.nii*"))
    names = ("anatomical.nii", "example4d.nii.gz", "functional.nii", "standard.nii.gz")
    paths += [_NIBABEL / name for name in (*names, "example_nifti2.nii.gz")]
    assert len(paths) >= 12
    for path in paths:
        image = _check_against_nibabel(path)
        notes = " ".join(volumes.info(path).notes)
        assert ("Shear" in notes) == (path.name == "S0_10slices.nii.gz")
        if "Shear" not in notes and "nifti2" not in path.name:
            assert _agrees_with_simpleitk(path, image)


def test_a_sheared_scan_keeps_its_places_where_simpleitk_refuses_it(scans, tmp_path):
    path = scans / "S0_10slices.nii.gz"
    with pytest.raises(RuntimeError, match="orthonormal"):
        sitk.ReadImage(path)
    image = volumes.read(path)
    for name in ("x.mha", "x.nrrd", "x.ome.zarr", "x.h5", "x.npy", "x.nii"):
        volumes.write(tmp_path / name, image)
        found = volumes.read(tmp_path / name)
        assert farthest_mm(found.geometry, image.geometry, image.shape) <= 1e-5


def test_a_head_ct_passes_through_dicom(head):
    image, folder = head
    found = volumes.read(folder)
    assert found.array.dtype == np.int16
    assert (found.array.min(), found.array.max()) == (-1024, 2986)
    np.testing.assert_array_equal(found.array, image.array)
    assert farthest_mm(found.geometry, image.geometry, image.shape) <= 1e-5
    region = volumes.Region((40, 100, 50), (44, 180, 90))
    part = volumes.read(folder, region=region).array
    np.testing.assert_array_equal(part, image.array[region.slices])
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(sitk.ReadImage(names)), image.array[..., 0]
    )


def test_a_head_ct_with_a_gap_is_refused(head, tmp_path):
    _, folder = head
    for file in sorted(folder.iterdir()):
        if file.name not in ("slice_051.dcm", "slice_052.dcm"):
            (tmp_path / file.name).symlink_to(file)
    says = r"missing, 2 between slice_050\.dcm and slice_053\.dcm.* 1\.5 to 4\.5 mm"
    with pytest.raises(volumes.VolumeError, match=says):
        volumes.read(tmp_path)


@pytest.mark.parametrize(
    "name", ["CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "693_J2KI.dcm"]
)
def test_slices_of_pydicom_are_read_as_by_simpleitk(name):
    path = pathlib.Path(pydicom.data.get_testdata_file(name, download=False))
    image = volumes.read(path)
    found = sitk.ReadImage(path)
    np.testing.assert_array_equal(image.array[..., 0], sitk.GetArrayFromImage(found))
    assert _agrees_with_simpleitk(path, image)
    np.testing.assert_allclose(image.geometry.spacing_mm[1:], found.GetSpacing()[1::-1])


def test_a_dose_has_its_frames_as_slices():
    path = pathlib.Path(pydicom.data.get_testdata_file("rtdose.dcm", download=False))
    image = volumes.read(path)
    assert image.shape == (15, 10, 10)
    np.testing.assert_allclose(image.geometry.spacing_mm, (5, 10, 10))
    dataset = pydicom.dcmread(path)
    expected = dataset.pixel_array * float(dataset.DoseGridScaling)
    np.testing.assert_allclose(image.array[..., 0], expected, rtol=1e-12)


def test_two_neighbouring_slices_of_a_scanner_are_a_volume(tmp_path):
    for name in ("0.dcm", "1.dcm"):
        (tmp_path / name).symlink_to(_NIBABEL / name)
    image = volumes.read(tmp_path)
    assert image.shape == (2, 256, 256)
    np.testing.assert_allclose(image.geometry.spacing_mm, (3, 1.796875, 1.796875), 1e-4)
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    found = sitk.ReadImage(names)
    np.testing.assert_array_equal(image.array[..., 0], sitk.GetArrayFromImage(found))
    np.testing.assert_allclose(image.geometry.origin, found.GetOrigin())
