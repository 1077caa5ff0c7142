"""Speed and memory of volume files, beside nibabel and SimpleITK.

Run with `make bench`.
"""

from __future__ import annotations

import resource
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from kauldron.kd import volumes
from tests.benchmarks import clocks

pytestmark = pytest.mark.bench

START, SIZE = (60, 60, 60), (64, 64, 64)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    rng = np.random.default_rng(0)
    array = rng.integers(-1000, 1000, (192, 192, 192), np.int16)
    folder = tmp_path_factory.mktemp("files")
    for name in ("x.nii", "x.nii.gz", "x.mha"):
        volumes.write(folder / name, volumes.Image(array))
    return folder


def _race(contestants):
    return clocks.in_turn(
        {name: clocks.timed(run) for name, run in contestants.items()}
    )


def _sitk_region(path):
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetExtractIndex(START)
    reader.SetExtractSize(SIZE)
    return sitk.GetArrayFromImage(reader.Execute())


def test_a_region_is_read_in_half_the_time_of_nibabel_and_simpleitk(files, figures):
    region = volumes.Region(START, tuple(np.add(START, SIZE).tolist()))
    slices = region.slices
    secs = _race(
        {
            "nibabel": lambda: np.asarray(
                nibabel.load(files / "x.nii").dataobj[slices]
            ),
            "SimpleITK": lambda: _sitk_region(files / "x.mha"),
            "NIfTI": lambda: volumes.read(files / "x.nii", region=region),
            "MetaImage": lambda: volumes.read(files / "x.mha", region=region),
        }
    )
    for ours, theirs in (("NIfTI", "nibabel"), ("MetaImage", "SimpleITK")):
        figures.ratio(
            f"reading a region of 64³ of a {ours} file of 192³",
            secs[ours],
            secs[theirs],
            against=theirs,
            budget=0.5,
        )


def test_a_packed_file_is_read_in_the_time_of_nibabel(files, figures):
    path = files / "x.nii.gz"
    secs = _race(
        {
            "nibabel": lambda: np.asarray(nibabel.load(path).dataobj),
            "ours": lambda: volumes.read(path),
        }
    )
    figures.ratio(
        "reading a packed NIfTI file of 192³",
        secs["ours"],
        secs["nibabel"],
        against="nibabel",
        budget=1.15,
    )


_READ_PARTS = """
import resource, sys
import numpy as np
from kauldron.kd import volumes

path = sys.argv[1]
rng = np.random.default_rng(0)
shape = volumes.info(path).shape
volumes.read(path, region=volumes.Region((0, 0, 0), (64, 64, 64)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for start in rng.integers(0, np.array(shape) - 63, (400, 3)).tolist():
    region = volumes.Region(tuple(start), tuple(s + 64 for s in start))
    volumes.read(path, region=region)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def test_parts_of_4_gib_need_the_memory_of_a_part(tmp_path, figures):
    path = tmp_path / "large.nii"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    slab = np.ones((64, 1448, 1448), np.int16)
    with volumes.open_region_writer(
        path, shape=(1024, 1448, 1448), dtype="int16", geometry=volumes.Geometry.make()
    ) as writer:
        for z in range(0, 1024, 64):
            writer.write(volumes.Region((z, 0, 0), (z + 64, 1448, 1448)), slab)
    written = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    out = subprocess.run(
        [sys.executable, "-c", _READ_PARTS, path],
        check=True,
        capture_output=True,
        text=True,
    )
    assert path.stat().st_size > 4e9
    figures.number(
        "reading 400 regions of 64³ of a file of 4 GiB: more memory than one",
        [float(out.stdout)],
        "MiB",
        budget=64,
    )
    figures.number(
        "writing a file of 4 GiB in slabs of 256 MiB: memory",
        [written],
        "MiB",
        budget=3 * slab.nbytes / 2**20,
    )
