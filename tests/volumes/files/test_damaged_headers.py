"""Headers with random bytes: a volume, or an error that names the file."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron.kd import volumes
from tests.volumes.files.volumes import OBLIQUE, random_array

_FILES = (
    "x.nii",
    "x.nii.gz",
    "x.mha",
    "x.mhd",
    "x.nrrd",
    "x.npy",
    "x.h5",
    "x.png",
    "x.tif",
)
# File -> the file inside of it that has the header.
_HEADERS = dict.fromkeys(_FILES, "") | {
    "x.dicom": "slice_1.dcm",
    "x.ome.zarr": "zarr.json",
}


@pytest.mark.filterwarnings("ignore")  # libraries warn of what they find
@pytest.mark.parametrize("name", _HEADERS)
def test_whatever_a_header_says_errors_name_the_file(name, tmp_path):
    path = tmp_path / name
    shape = (1, 5, 6) if name in ("x.png", "x.tif") else (2, 5, 6)
    volumes.write(path, volumes.Image(random_array(shape, "uint8"), OBLIQUE))
    header = path / _HEADERS[name] if _HEADERS[name] else path
    content = header.read_bytes()
    rng = np.random.default_rng(0)
    num_refused = 0
    for _ in range(40):
        changed = bytearray(content)
        for place in rng.integers(min(len(content), 700), size=6):
            changed[place] = rng.integers(256)
        header.write_bytes(changed)
        try:
            volumes.read(path)
        except volumes.VolumeError as e:
            assert "x." in str(e) or "slice_" in str(e)
            num_refused += 1
    assert num_refused
