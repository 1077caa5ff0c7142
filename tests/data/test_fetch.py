"""Real datasets out of packages: unpacking, checksums, messages; downloads are slow."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
import zipfile

import numpy as np
import pytest

from kauldron import kd
from kauldron.data import _fetch, _fetch_table


def _deb(files):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd"}
    package = b"!<arch>\n"
    for name, content in {**members, "data.tar.xz": data.getvalue()}.items():
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(content):<10}`\n"
        package += header.encode() + content + b"\n" * (len(content) % 2)
    return package


def test_debian_packages_are_unpacked_without_tools(tmp_path):
    files = {"./usr/a.txt": b"first", "./usr/b.txt": b"second"}
    (tmp_path / "x.deb").write_bytes(_deb(files))
    assert _fetch._unpack(tmp_path / "x.deb") == files


@pytest.fixture
def toy_dataset(monkeypatch, tmp_path):
    package = tmp_path / "toy.whl"
    with zipfile.ZipFile(package, "w") as archive:
        archive.writestr("toy/data.txt", "hello")
        archive.writestr("toy/code.py", "raise SystemExit")
    toy = _fetch_table.Fetchable(
        description="A word",
        licence="none",
        wheel="no-such-package-of-this-name==0",
        members=r"toy/.*\.txt",
        sha256=_fetch.checksum({"toy/data.txt": b"hello"}),
        write=_fetch_table._write_as_they_are,
    )
    monkeypatch.setitem(_fetch_table.FETCHABLE, "toy", toy)
    return package


def test_only_the_data_are_taken_and_kept(toy_dataset, tmp_path):
    folder = kd.data.fetch("toy", folder=tmp_path / "cache", archive=toy_dataset)
    assert sorted(p.name for p in folder.iterdir()) == ["LICENCE.txt", "data.txt"]
    toy_dataset.unlink()
    assert kd.data.fetch("toy", folder=tmp_path / "cache") == folder
    assert [p.name for p in (tmp_path / "cache").iterdir()] == ["toy"]


def test_other_files_than_expected_are_refused(toy_dataset, tmp_path, monkeypatch):
    toy = dataclasses.replace(_fetch_table.FETCHABLE["toy"], sha256="0" * 64)
    monkeypatch.setitem(_fetch_table.FETCHABLE, "toy", toy)
    with pytest.raises(ValueError, match=r"expected 0000.*Nothing was kept"):
        kd.data.fetch("toy", folder=tmp_path / "cache", archive=toy_dataset)
    assert list((tmp_path / "cache").iterdir()) == []


def test_damaged_package_is_reported(toy_dataset, tmp_path):
    toy_dataset.write_bytes(b"half")
    with pytest.raises(ValueError, match="cannot be read"):
        kd.data.fetch("toy", folder=tmp_path / "cache", archive=toy_dataset)


def test_unknown_name_suggests_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'shakespeare'"):
        kd.data.fetch("shakespear", folder=tmp_path)


def test_failed_download_is_explained(toy_dataset, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # as if offline
    with pytest.raises(ValueError, match=r"cannot be downloaded(.|\n)*offline"):
        kd.data.fetch("toy", folder=tmp_path / "cache")


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("KAULDRON_DATA", str(tmp_path))
    assert _fetch.cache_folder() == tmp_path


@pytest.mark.slow
def test_real_datasets_are_what_they_say(tmp_path):
    assert kd.data.fetchable().keys() == _fetch_table.FETCHABLE.keys()
    folders = {
        name: kd.data.fetch(name, folder=tmp_path) for name in kd.data.fetchable()
    }
    shapes = {
        folders["digits"] / "digits.npz": (1797, 8, 8, 1),
        folders["mnist_5k"] / "mnist_5k.npz": (5000, 28, 28, 1),
        folders["fashion_mnist"] / "train.npz": (60_000, 28, 28, 1),
        folders["fashion_mnist"] / "test.npz": (10_000, 28, 28, 1),
    }
    for path, shape in shapes.items():
        arrays = np.load(path)
        assert arrays["image"].shape == shape
        counts = np.bincount(arrays["label"])
        assert len(counts) == 10
        assert counts.min() > 0.9 * shape[0] / 10
    plays = list(folders["shakespeare"].glob("*/*.md"))
    assert len(plays) == 38
    assert sum(play.stat().st_size for play in plays) > 5_000_000
    dialogs = (folders["dialogs"] / "dialogs.jsonl").read_text().splitlines()
    assert all(len(json.loads(line)["turns"]) >= 1 for line in dialogs)
    assert len(dialogs) > 1500
    assert (folders["smollm2"] / "smollm2.gguf").stat().st_size == 98_362_432
    names = sorted(path.name for path in folders["mni"].glob("icbm152/*"))
    assert names == ["gm.nii.gz", "t1.nii.gz", "wm.nii.gz"]
