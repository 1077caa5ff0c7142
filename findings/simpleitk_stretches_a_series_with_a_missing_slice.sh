#!/usr/bin/env bash
# SimpleITK 2.5.7: a DICOM series with slices at 0, 2, 4, 6 and 8 mm; the second one is
# lost. pydicom 3.0.2 writes it.
# Guess: an error, or a gap; or slices that stay 2 mm apart.
# Seen: (last - first) / (slices - 1) = 2.67 mm between all. The slice at 4 mm is placed at
# 2.67 mm; only the log of the process has a warning of ITK.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6
cd "$folder"
"$folder/venv/bin/python" - <<'PY'
import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

series, study = generate_uid(), generate_uid()
for z in (0, 4, 6, 8):
    d = Dataset()
    d.file_meta = FileMetaDataset()
    d.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d.SOPClassUID, d.SOPInstanceUID = CTImageStorage, generate_uid()
    d.StudyInstanceUID, d.SeriesInstanceUID, d.Modality = study, series, "CT"
    d.ImagePositionPatient, d.ImageOrientationPatient = [0, 0, z], [1, 0, 0, 0, 1, 0]
    d.PixelSpacing, d.SliceThickness, d.InstanceNumber = [1, 1], 2, z // 2 + 1
    d.Rows = d.Columns = 2
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.BitsAllocated = d.BitsStored = 16
    d.HighBit, d.PixelRepresentation = 15, 1
    d.RescaleSlope, d.RescaleIntercept = 1, 0
    d.PixelData = np.full((2, 2), z, "<i2").tobytes()
    d["PixelData"].VR = "OW"
    d.save_as(f"{z}.dcm", enforce_file_format=True)
reader = sitk.ImageSeriesReader()
reader.SetFileNames(reader.GetGDCMSeriesFileNames("."))
image = reader.Execute()
place = image.TransformIndexToPhysicalPoint((0, 0, 1))[2]
print("spacing", image.GetSpacing()[2], "value", image[0, 0, 1], "at", place)
assert abs(image.GetSpacing()[2] - 8 / 3) < 1e-9
assert image[0, 0, 1] == 4 and abs(place - 8 / 3) < 1e-9
PY
