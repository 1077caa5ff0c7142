#!/usr/bin/env bash
# nibabel 5.4.2: labels 0, 1 and 116 in a float array, saved with `dtype=np.uint8`.
# Guess: bytes 0, 1 and 116, as of `astype`; or an error.
# Seen: the range is stretched over all bytes: 0, 2 and 255, and a slope of 0.4549 in the
# header. Label 1 comes back as 0.9098, which `int` makes 0.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check nibabel==5.4.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import nibabel
import numpy as np

labels = np.array([0.0, 1.0, 116.0]).reshape(3, 1, 1)
nibabel.save(nibabel.Nifti1Image(labels, np.eye(4), dtype=np.uint8), "labels.nii")
image = nibabel.load("labels.nii")
stored = image.dataobj.get_unscaled().ravel()
print(image.dataobj.slope, stored, image.get_fdata().ravel())
assert stored.tolist() == [0, 2, 255]
assert image.get_fdata().astype(int).ravel().tolist() == [0, 0, 116]
PY
