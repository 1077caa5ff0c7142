#!/usr/bin/env bash
# SimpleITK 2.5.7: a volume whose header gives its lengths in micrometres.
# Guess: millimetres, as of a NIfTI, whose unit (`xyzt_units`) is converted.
# Seen: NIfTI 0.5 mm, NRRD (`space units`) 500 mm: the unit is dropped without a word.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import nibabel
import numpy as np
import SimpleITK as sitk

array = np.zeros((2, 2, 2), "<i2")
header = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 2 2 2
space directions: (500,0,0) (0,500,0) (0,0,500)
space units: "um" "um" "um"
kinds: domain domain domain
endian: little
encoding: raw
space origin: (0,0,0)

"""
with open("x.nrrd", "wb") as f:
    f.write(header.encode("ascii") + array.tobytes())
image = nibabel.Nifti1Image(array, np.diag([500.0, 500, 500, 1]))
image.header.set_xyzt_units("micron")
nibabel.save(image, "x.nii")
nifti, nrrd = (sitk.ReadImage(name).GetSpacing() for name in ("x.nii", "x.nrrd"))
print("NIfTI", nifti, "NRRD", nrrd)
assert np.allclose(nifti, 0.5) and nrrd == (500.0, 500.0, 500.0)
PY
