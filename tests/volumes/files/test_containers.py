"""HDF5, OME-Zarr, NPY and pictures: what each has of its own."""

from __future__ import annotations

import json
import pathlib

import h5py
import numpy as np
import pytest
import zarr
from PIL import Image

from kauldron.kd import volumes
from tests.volumes.files.volumes import OBLIQUE, STRAIGHT, random_array

SHAPE = (4, 5, 6)


def test_of_an_hdf5_file_with_several_volumes_one_is_named(tmp_path):
    arrays = {f"case_{i}/ct": random_array(SHAPE)[..., 0] + i for i in range(2)}
    with h5py.File(tmp_path / "all.h5", "w") as file:
        for name, array in arrays.items():
            file[name] = array
    for name, array in arrays.items():
        found = volumes.read(tmp_path / "all.h5" / name)
        np.testing.assert_array_equal(found.array[..., 0], array)
    found = volumes.read(tmp_path / "all.h5" / "case_1")  # it has one
    np.testing.assert_array_equal(found.array[..., 0], arrays["case_1/ct"])
    with pytest.raises(volumes.VolumeError, match=r"several volumes.*case_0/ct"):
        volumes.info(tmp_path / "all.h5")
    with pytest.raises(
        volumes.VolumeError, match=r"no volume.*Did you mean 'case_0/ct'"
    ):
        volumes.info(tmp_path / "all.h5" / "case_0/ctt")
    with pytest.raises(volumes.VolumeError, match="cannot be written"):
        volumes.write(tmp_path / "all.h5" / "x", volumes.Image(arrays["case_0/ct"]))


def _ome(path, version, axes, array, datasets, **multiscale):
    """Writes metadata as other programs do."""
    found = {"axes": axes, "datasets": datasets, **multiscale}
    attributes = {"multiscales": [found | {"version": version}]}
    if version == "0.5":
        attributes = {"ome": {"version": "0.5", "multiscales": [found]}}
    zarr_format = 3 if version == "0.5" else 2
    group = zarr.open_group(
        path, mode="w", zarr_format=zarr_format, attributes=attributes
    )
    for i, dataset in enumerate(datasets):
        level = array[..., :: 2**i, :: 2**i]
        stored = group.create_array(
            dataset["path"], shape=level.shape, dtype=level.dtype, chunks=level.shape
        )
        stored[...] = level
    return path


def _steps(scale, translation=None):
    steps = [{"type": "scale", "scale": scale}]
    if translation:
        steps.append({"type": "translation", "translation": translation})
    return steps


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_levels_and_units_of_ome_zarr_are_read(version, tmp_path):
    array = random_array((1, 1, *SHAPE))[..., 0]
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "zyx"]
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}, *axes]
    path = _ome(
        tmp_path / "x.zarr",
        version,
        axes,
        array,
        [
            {
                "path": "s0",
                "coordinateTransformations": _steps([1, 1, 2000, 500, 250]),
            },
            {
                "path": "s1",
                "coordinateTransformations": _steps(
                    [1, 1, 2000, 1000, 500], [0, 0, 0, 250, 125]
                ),
            },
        ],
        coordinateTransformations=_steps([1, 1, 1, 1, 1], [0, 0, 7000, 8000, 9000]),
    )
    whole = volumes.read(path)
    np.testing.assert_array_equal(whole.array[..., 0], array[0, 0])
    np.testing.assert_allclose(whole.geometry.spacing_mm, (2, 0.5, 0.25))
    np.testing.assert_allclose(whole.geometry.origin, (9, 8, 7))
    coarse = volumes.read(path / "s1")
    np.testing.assert_array_equal(coarse.array[..., 0], array[0, 0, :, ::2, ::2])
    np.testing.assert_allclose(coarse.geometry.spacing_mm, (2, 1, 0.5))
    np.testing.assert_allclose(coarse.geometry.origin, (9.125, 8.25, 7))
    assert volumes.info(path).notes[0].startswith("Directions: OME-Zarr has none.")
    with pytest.raises(volumes.VolumeError, match=r"no level 's2'.*s0, s1"):
        volumes.read(path / "s2")


def test_axes_without_unit_and_axes_that_are_no_volume_are_told(tmp_path):
    array = random_array((2, 2, *SHAPE))[..., 0]
    datasets = [{"path": "0", "coordinateTransformations": _steps([1] * 5)}]
    axes = [{"name": n} for n in "tczyx"]
    path = _ome(tmp_path / "x.zarr", "0.5", axes, array, datasets)
    with pytest.raises(volumes.VolumeError, match=r"t=2, c=2.*no volume"):
        volumes.info(path)
    path = _ome(tmp_path / "y.zarr", "0.5", axes, array[:1], datasets)
    np.testing.assert_array_equal(
        volumes.read(path).array, np.moveaxis(array[0], 0, -1)
    )
    assert volumes.info(path).notes[0].startswith("Unit: ")


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("geometry", [STRAIGHT, OBLIQUE])
def test_levels_are_written_and_lie_where_the_volume_lies(dtype, geometry, tmp_path):
    array = random_array((40, 70, 130), dtype)
    path = tmp_path / "x.ome.zarr"
    volumes.write(path, volumes.Image(array, geometry))
    coarse = volumes.read(path / "1")
    # The spacing along z is coarse enough already.
    assert coarse.shape == (40, 35, 65)
    np.testing.assert_allclose(
        coarse.geometry.spacing_mm, geometry.spacing_mm * (1, 2, 2)
    )
    if dtype == "float32":
        expected = array.reshape(40, 35, 2, 65, 2).astype(np.float64).mean((2, 4))
        np.testing.assert_allclose(coarse.array[..., 0], expected, rtol=1e-6)
        first = geometry.to_world((0, 0.5, 0.5))
    else:  # labels stay labels
        np.testing.assert_array_equal(coarse.array, array[:, ::2, ::2])
        first = geometry.to_world((0, 0, 0))
    np.testing.assert_allclose(coarse.geometry.origin, first, atol=1e-9)
    assert volumes.read(path / "2").shape == (40, 18, 33)


def test_other_programs_find_the_placement_of_a_straight_volume(tmp_path):
    volumes.write(tmp_path / "x.zarr", volumes.Image(random_array(SHAPE), STRAIGHT))
    ome = json.loads((tmp_path / "x.zarr/zarr.json").read_text())["attributes"]["ome"]
    assert ome["version"] == "0.5"
    (multiscale,) = ome["multiscales"]
    assert [axis["name"] for axis in multiscale["axes"]] == ["c", "z", "y", "x"]
    assert multiscale["datasets"][0]["coordinateTransformations"] == _steps(
        [1.0, 2.0, 0.75, 0.5], [0.0, 300.0, 20.25, -10.5]
    )


def test_a_chunk_that_is_missing_is_told_though_zarr_would_read_zeros(tmp_path):
    path = tmp_path / "x.zarr"
    volumes.write(path, volumes.Image(random_array((4, 5, 70)), OBLIQUE))
    (path / "0/c/0/0/0/1").unlink()
    assert not zarr.open_group(path, mode="r")["0"][0, :, :, 64:].any()
    with pytest.raises(volumes.VolumeError, match=r"cut off.*chunk c/0/0/0/1"):
        volumes.read(path)
    part = volumes.read(path, region=volumes.Region((0, 0, 0), (4, 5, 64)))
    np.testing.assert_array_equal(part.array, random_array((4, 5, 70))[:, :, :64])
    (path / "zarr.json").unlink()
    with pytest.raises(volumes.VolumeError, match="damaged, or no OME-Zarr"):
        volumes.read(path)


def test_a_zarr_that_is_no_volume_is_told(tmp_path):
    path = tmp_path / "x.zarr"
    zarr.open_group(path, mode="w", attributes={"other": 1})
    with pytest.raises(volumes.VolumeError, match=r"without the metadata.*other"):
        volumes.info(path)
    axes = [{"name": n, "type": "space", "unit": "ell"} for n in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": _steps([1] * 3)}]
    _ome(path, "0.5", axes, random_array(SHAPE)[..., 0], datasets)
    with pytest.raises(volumes.VolumeError, match="unit 'ell' of the axis z"):
        volumes.info(path)
    _ome(path, "0.5", axes, np.zeros(SHAPE, np.complex64), datasets)
    with pytest.raises(volumes.VolumeError, match="holds complex64"):
        volumes.info(path)
    group = zarr.open_group(path, mode="a")
    del group["0"]
    with pytest.raises(volumes.VolumeError, match="no array '0'"):
        volumes.info(path)
    with pytest.raises(volumes.VolumeError, match="level cannot be written alone"):
        volumes.write(path / "1", volumes.Image(random_array(SHAPE)))


def test_a_chunk_that_is_damaged_is_told(tmp_path):
    path = tmp_path / "x.zarr"
    volumes.write(path, volumes.Image(random_array(SHAPE)))
    (path / "0/c/0/0/0/0").write_bytes(b"no zstd")
    with pytest.raises(volumes.VolumeError, match=r"x\.zarr is cut off or damaged"):
        volumes.read(path)


def test_an_hdf5_file_without_a_volume_is_told(tmp_path):
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["flat"] = np.zeros((2, 3))
    with pytest.raises(volumes.VolumeError, match=r"no dataset \[z y x\]"):
        volumes.info(tmp_path / "x.h5")
    with h5py.File(tmp_path / "y.h5", "w") as file:
        file["ct"] = np.zeros((2, 3, 4), np.complex64)
    with pytest.raises(volumes.VolumeError, match=r"y\.h5/ct holds complex64"):
        volumes.info(tmp_path / "y.h5")


def test_arrays_of_numpy_are_read_and_the_missing_geometry_is_told(tmp_path):
    array = random_array(SHAPE)[..., 0]
    np.save(tmp_path / "c.npy", array)
    np.save(tmp_path / "f.npy", np.asfortranarray(array))
    np.save(tmp_path / "big.npy", array.astype(">i2"))
    for name in ("c.npy", "f.npy", "big.npy"):
        image = volumes.read(tmp_path / name)
        np.testing.assert_array_equal(image.array[..., 0], array)
        np.testing.assert_array_equal(image.geometry.spacing_mm, 1)
        region = volumes.Region((1, 2, 3), (3, 5, 4))
        part = volumes.read(tmp_path / name, region=region).array
        np.testing.assert_array_equal(part[..., 0], array[region.slices])
    assert volumes.info(tmp_path / "c.npy").notes[0].startswith("No placement")
    np.save(tmp_path / "flat.npy", array[0])
    with pytest.raises(volumes.VolumeError, match=r"flat\.npy holds int16\[5, 6\]"):
        volumes.info(tmp_path / "flat.npy")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "no JSON"),
        ('{"matrix": 1}', "must hold `matrix`"),
        ('{"matrix": [[0,0,1],[0,1,0],[0,0,0]], "origin": [0,0,0]}', "spacing"),
        ('{"matrix": [[0,0,1],[0,1,0],[1,0,NaN]], "origin": [0,0,0]}', "not finite"),
    ],
)
def test_a_bad_sidecar_is_told(content, says, tmp_path):
    path = tmp_path / "x.npy"
    volumes.write(path, volumes.Image(random_array(SHAPE)))
    path.with_name("x.npy.json").write_text(content)
    with pytest.raises(volumes.VolumeError, match=rf"x\.npy.*{says}"):
        volumes.read(path)


def test_what_no_picture_can_hold_is_refused_with_those_that_can(tmp_path):
    image = volumes.Image(random_array(SHAPE, "uint8"))
    with pytest.raises(volumes.VolumeError, match="one slice, and these are 4"):
        volumes.write(tmp_path / "x.png", image)
    image = volumes.Image(random_array((1, 5, 6), "uint16", 3))
    with pytest.raises(volumes.VolumeError, match="these are 3 of uint16"):
        volumes.write(tmp_path / "x.png", image)


def test_a_tiff_of_several_pages_is_told(tmp_path):
    pages = [Image.fromarray(random_array((5, 6), "uint8")[..., 0]) for _ in range(3)]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(volumes.VolumeError, match="3 pages"):
        volumes.read(tmp_path / "x.tif")


def test_a_missing_package_is_told_with_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    pathlib.Path(tmp_path / "x.h5").touch()
    with pytest.raises(ImportError, match=r"HDF5 needs .*h5py.*'kauldron\[hdf5\]'"):
        volumes.read(tmp_path / "x.h5")
