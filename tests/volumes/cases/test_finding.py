"""Which cases are found below the roots, and what is told of those that are bad."""

from __future__ import annotations

import numpy as np
import pytest

from kauldron import kd
from tests.volumes.cases import volumes_on_disk

_GROUPS = {"ct": "ct.npy", "seg": kd.volumes.Group("seg.npy", is_label=True)}


def _cases(path, groups=None, **fields):
    return kd.volumes.VolumeCases(
        path, groups=groups or _GROUPS, batch_size=1, shuffle=False, seed=0, **fields
    )


def test_files_may_have_the_names_of_the_cases(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    images.mkdir()
    labels.mkdir()
    for name in ("b", "a", "a_b"):
        np.save(images / f"{name}_0000.npy", np.zeros((2, 3, 4)))
        np.save(images / f"{name}_0001.npy", np.ones((2, 3, 4)))
        np.save(labels / f"{name}.npy", np.ones((2, 3, 4), np.int16))
    groups = {
        "t1": "images/{case}_0000.npy",
        "t2": "images/{case}_0001.npy",
        "seg": kd.volumes.Group("labels/{case}.npy", is_label=True),
    }
    ds = _cases(tmp_path, groups)
    assert ds.case_names == ("a", "a_b", "b")
    batch = next(iter(ds))
    assert {k: batch[k].mean() for k in groups} == {"t1": 0, "t2": 1, "seg": 1}


def test_the_longer_name_of_a_file_is_not_taken_for_another_case(tmp_path):
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", np.zeros((2, 2, 2)))
        np.save(tmp_path / f"{name}_seg.npy", np.zeros((2, 2, 2), np.uint8))
    groups = {
        "ct": "{case}.npy",
        "seg": kd.volumes.Group("{case}_seg.npy", is_label=True),
    }
    assert _cases(tmp_path, groups).case_names == ("a", "b")


def test_groups_of_a_case_may_lie_in_several_roots(tmp_path):
    images, labels = tmp_path / "images", tmp_path / "labels"
    for number in range(4):
        name = f"case_{number}"
        volumes_on_disk.write_case(images / name, number, seg=None)
        if number < 3:
            volumes_on_disk.write_case(labels / name, number, ct=None)
    volumes_on_disk.write_case(labels / "case_9", ct=None)
    both = _cases([images, labels], combine="intersection")
    assert both.case_names == ("case_0", "case_1", "case_2")
    with pytest.raises(kd.volumes.BadCasesError) as error:
        _ = _cases([images, labels]).case_names
    assert [(p.case, p.file) for p in error.value.problems] == [
        ("case_3", "case_3/seg.npy"),
        ("case_9", "case_9/ct.npy"),
    ]


def test_two_cases_of_one_name_are_told(tmp_path):
    for root in ("first", "second"):
        volumes_on_disk.write_case(tmp_path / root / "case_0")
    with pytest.raises(
        kd.volumes.BadCasesError, match="2 folders of `path` have a case of this name"
    ) as e:
        _ = _cases([tmp_path / "first", tmp_path / "second"]).case_names
    assert str(tmp_path / "first/case_0/ct.npy") in str(e.value)
    assert str(tmp_path / "second/case_0/ct.npy") in str(e.value)
    assert len(e.value.problems) == 1


@pytest.fixture
def hundred(tmp_path):
    """Ten cases, five of which are bad, each in its own way."""
    shape = (2, 3, 4)
    root = volumes_on_disk.write_cases(tmp_path / "cases", 10, shape=shape)
    (root / "case_1/seg.npy").unlink()
    np.save(root / "case_3/seg.npy", np.zeros((2, 3, 5), np.uint8))
    (root / "case_4/ct.npy").write_bytes(b"")
    np.save(root / "case_6/ct.npy", np.zeros((2, 3, 4, 2), np.float32))
    content = (root / "case_8/ct.npy").read_bytes()
    (root / "case_8/ct.npy").write_bytes(content[:-20])
    return root


def test_all_bad_cases_are_listed_at_once(hundred):
    with pytest.raises(kd.volumes.BadCasesError) as error:
        _ = _cases(hundred).case_names
    lines = str(error.value).splitlines()
    assert lines[0] == "5 of 10 cases cannot be used:"
    for line, (case, file, what) in zip(
        lines[1:6],
        [
            ("case_1", "case_1/seg.npy", "is missing"),
            ("case_3", "case_3/seg.npy", r"has the shape (2, 3, 5), 'ct' (2, 3, 4)"),
            ("case_4", "case_4/ct.npy", "is no NPY file"),
            ("case_6", "case_6/ct.npy", "has 2 channels, 'ct' of most cases 1"),
            ("case_8", "case_8/ct.npy", "is cut off"),
        ],
        strict=True,
    ):
        assert line.startswith(f"  {case}: ") and file in line and what in line
    assert "on_bad_case='skip'" in lines[-1]


def test_bad_cases_can_be_skipped_and_are_told(hundred, capsys):
    ds = _cases(hundred, on_bad_case="skip", num_epochs=1)
    assert [b["case"][0] for b in ds] == [
        "case_0",
        "case_2",
        "case_5",
        "case_7",
        "case_9",
    ]
    told = capsys.readouterr().err
    assert "5 of 10 cases cannot be used" in told and "5 cases are used" in told
    (record,) = ds.run_records()
    assert sorted(record["skipped"]) == [
        "case_1",
        "case_3",
        "case_4",
        "case_6",
        "case_8",
    ]


def test_voxels_are_checked_on_request(tmp_path):
    root = volumes_on_disk.write_cases(tmp_path, 4, shape=(2, 3, 4))
    ct = np.load(root / "case_1/ct.npy")
    ct[0, 0, :2] = np.nan, np.inf
    np.save(root / "case_1/ct.npy", ct)
    np.save(root / "case_2/seg.npy", np.full((2, 3, 4), 7, np.uint8))
    np.save(root / "case_3/seg.npy", np.full((2, 3, 4), 0.5, np.float32))
    groups = _GROUPS | {"seg": kd.volumes.Group("seg.npy", is_label=True, num_labels=3)}
    assert len(_cases(root, groups).case_names) == 4
    with pytest.raises(kd.volumes.BadCasesError) as error:
        _ = _cases(root, groups, check_voxels=True).case_names
    assert [(p.case, p.what) for p in error.value.problems] == [
        ("case_1", "has 2 voxels that are NaN or infinite"),
        ("case_2", "has the label 7, outside of [0, 3)"),
        ("case_3", "has the value 0.5, which is no label"),
    ]
    # Labels are looked at whenever they are read.
    with pytest.raises(kd.volumes.VolumeError, match=r"case_2: .*has the label 7"):
        _ = list(_cases(root, groups, num_epochs=1))


@pytest.mark.parametrize(
    ("group", "dtype", "value", "what"),
    [
        ("ct", "float64", 1e300, "has the value 1e+300, which float32, "),
        ("seg", "int64", 2**31, "has the label 2147483648, which int32, "),
        ("seg", "float32", 2.0**31, "has the label 2.14748e+09, which int32, "),
        ("ct", "float64", np.inf, None),
        ("seg", "int64", 2**31 - 1, None),
    ],
)
def test_values_that_the_batch_cannot_hold_are_told(
    group, dtype, value, what, tmp_path
):
    array = np.full((2, 3, 4), value, dtype)
    root = volumes_on_disk.write_cases(tmp_path, 1, shape=(2, 3, 4), **{group: array})
    if what is None:
        (batch,) = _cases(root, num_epochs=1)
        assert (batch[group] == value).all()
        return
    with pytest.raises(kd.volumes.VolumeError) as error:
        list(_cases(root, num_epochs=1))
    assert f"case_0: {root}/case_0/{group}.npy {what}" in str(error.value)
    with pytest.raises(kd.volumes.BadCasesError) as error:
        _ = _cases(root, check_voxels=True).case_names
    assert what in error.value.problems[0].what


def test_cases_of_other_shapes_are_no_batch(tmp_path):
    for number, depth in enumerate((2, 2, 3, 3)):
        volumes_on_disk.write_case(tmp_path / f"case_{number}", shape=(depth, 3, 4))
    ds = _cases(tmp_path, num_epochs=1)
    told = r"'case_0' has \(2, 3, 4\), 'case_2' \(3, 3, 4\).*`batch_size=1`.*`Pad`"
    with pytest.raises(kd.volumes.VolumeError, match=told):
        iter(ds.replace(batch_size=2, shuffle=True))
    # In their order, those of one shape meet.
    assert [len(b["ct"]) for b in ds.replace(batch_size=2)] == [2, 2]
    cut = kd.volumes.RandomPatch(size=2)
    patches = ds.replace(batch_size=4, shuffle=True, patches=cut)
    assert [b["ct"].shape for b in patches] == [(4, 2, 2, 2, 1)]


def test_groups_that_lie_elsewhere_and_packed_files_that_are_cut_off(tmp_path):
    arrays = {
        "ct": np.zeros((2, 3, 4), np.float32),
        "seg": np.ones((2, 3, 4), np.uint8),
    }
    for number, (spacing, origin) in enumerate([(1, 0), (2, 0), (1, 5), (1, 0)]):
        folder = tmp_path / f"case_{number}"
        folder.mkdir()
        places = {
            "ct": kd.volumes.Geometry.make(),
            "seg": kd.volumes.Geometry.make((spacing, 1, 1), (origin, 0, 0)),
        }
        for name, geometry in places.items():
            image = kd.volumes.Image(arrays[name], geometry)
            kd.volumes.write(folder / f"{name}.nii.gz", image)
    packed = tmp_path / "case_3/ct.nii.gz"
    packed.write_bytes(packed.read_bytes()[:-12])
    groups = {
        "ct": "ct.nii.gz",
        "seg": kd.volumes.Group("seg.nii.gz", is_label=True),
    }
    with pytest.raises(kd.volumes.BadCasesError) as error:
        _ = _cases(tmp_path, groups, check_voxels=True).case_names
    told = {problem.case: problem.what for problem in error.value.problems}
    assert told["case_1"].startswith(
        "lies elsewhere than 'ct': its spacing_mm is [2.0, 1.0, 1.0], not [1.0, 1.0, 1.0]"
    )
    assert "its origin is [5.0, 0.0, 0.0], not [0.0, 0.0, 0.0]" in told["case_2"]
    assert told["case_3"].startswith("is cut off or damaged")
    by_seg = kd.volumes.transforms.Resample(by="seg")
    groups["ct"] = kd.volumes.Group("ct.nii.gz", transforms=[by_seg])
    assert len(_cases(tmp_path, groups, select="~case_3").case_names) == 3


def test_a_file_that_goes_during_training_is_named_or_skipped(tmp_path):
    root = volumes_on_disk.write_cases(tmp_path, 4, shape=(2, 3, 4))
    ds = _cases(root, num_epochs=1, cache="none")
    skipping = _cases(root, num_epochs=1, cache="none", max_bad_records=1)
    assert len(ds.case_names) == len(skipping.case_names) == 4
    (root / "case_2/seg.npy").unlink()
    with pytest.raises(kd.volumes.VolumeError, match=r"case_2/seg.npy") as error:
        list(ds)
    assert any("The case is 'case_2'" in note for note in error.value.__notes__)
    assert [b["case"][0] for b in skipping] == ["case_0", "case_1", "case_3"]


def test_a_group_of_a_case_can_be_opened(tmp_path):
    root = volumes_on_disk.write_cases(tmp_path, 2)
    crop = kd.volumes.transforms.Crop(size=(2, 3, 4), start=(1, 2, 3))
    groups = {"ct": kd.volumes.Group("ct.npy", transforms=[crop])}
    ds = _cases(root, groups)
    opened = ds.open("case_1", "ct")
    ct = np.load(root / "case_1/ct.npy")
    np.testing.assert_array_equal(opened.read()[..., 0], ct[1:3, 2:5, 3:7])
    assert ds.file("case_1", "ct") == str(root / "case_1/ct.npy")
    with pytest.raises(kd.volumes.VolumeError, match="Did you mean 'case_1'"):
        ds.open("case1", "ct")
    with pytest.raises(kd.volumes.VolumeError, match=r"has no 'mr'.*\['ct'\]"):
        ds.file("case_1", "mr")


def test_optional_groups_have_a_default(tmp_path):
    root = volumes_on_disk.write_cases(tmp_path, 2, shape=(2, 3, 4))
    (root / "case_1/seg.npy").unlink()
    seg = kd.volumes.Group("seg.npy", is_label=True, optional=True, default=9)
    first, second = _cases(root, {"ct": "ct.npy", "seg": seg}, num_epochs=1)
    assert first["seg_is_present"].tolist() == [True]
    assert second["seg_is_present"].tolist() == [False]
    assert (second["seg"] == np.full((1, 2, 3, 4, 1), 9)).all()
    assert second["seg"].dtype == first["seg"].dtype == np.int32


def test_what_is_not_there_is_told(tmp_path):
    error = kd.volumes.VolumeError
    root = volumes_on_disk.write_cases(tmp_path / "cases", 1)
    with pytest.raises(error, match="Did you mean 'cases'"):
        _ = _cases(tmp_path / "casse").case_names
    with pytest.raises(error, match=r"ct.npy' is a file: give the folder"):
        _ = _cases(root / "case_0/ct.npy").case_names
    with pytest.raises(error, match=r"looked for '{case}/mr.npy'.*'case_0' 'ct.npy'"):
        _ = _cases(root, {"mr": "mr.npy"}).case_names
    with pytest.raises(error, match="are optional"):
        _cases(root, {"ct": kd.volumes.Group("ct.npy", optional=True)})
    with pytest.raises(error, match="another key of the batch"):
        _cases(root, {"case": "ct.npy"})
    with pytest.raises(error, match="Did you mean 'union'"):
        _cases(root, combine="unoin")
    with pytest.raises(error, match="below the root"):
        kd.volumes.Group("../ct.npy")
    with pytest.raises(error, match="is_label=True"):
        kd.volumes.Group("ct.npy", num_labels=3)
