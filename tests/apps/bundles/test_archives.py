"""Archives from elsewhere: nothing gets out of the folder, nothing gets larger than told."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import zipfile

import pytest

from kauldron.apps import Limits
from kauldron.apps.bundles import archives, safe_names

_LIMITS = Limits(max_file_bytes=1000, max_request_bytes=2500, max_files=5)


def _zip(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as z:
        for name, data in members:
            z.writestr(name, data)
    return path


def _all(folder):
    found = folder.rglob("*")
    return {
        x.relative_to(folder).as_posix(): x.read_bytes() for x in found if x.is_file()
    }


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "inside" / "target"
    folder.mkdir(parents=True)
    return folder


def test_files_and_folders_are_unpacked(tmp_path, folder):
    path = _zip(tmp_path / "a.zip", [("a.txt", b"1"), ("b/", b""), ("b/c.txt", b"23")])
    archives.unpack(path, folder, _LIMITS)
    assert _all(folder) == {"a.txt": b"1", "b/c.txt": b"23"}


@pytest.mark.parametrize(
    "name",
    ["../out.txt", "/etc/out.txt", "a/../../out.txt", "..\\out.txt", "C:/out.txt"],
)
def test_no_member_gets_out(tmp_path, folder, name):
    path = _zip(tmp_path / "a.zip", [("fine.txt", b"1"), (name, b"x")])
    with pytest.raises(archives.ArchiveError, match="inside of it"):
        archives.unpack(path, folder, _LIMITS)
    assert not list(tmp_path.rglob("out.txt"))


def test_links_are_no_files(tmp_path, folder):
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = _zip(tmp_path / "a.zip", [(info, b"/etc/passwd")])
    with pytest.raises(archives.ArchiveError, match="inside of it"):
        archives.unpack(path, folder, _LIMITS)
    assert _all(folder) == {}


@pytest.mark.parametrize(
    "members, error",
    [
        ([("a", bytes(1001))], "up to 1000 bytes"),
        ([(f"{i}", bytes(900)) for i in range(3)], "up to 2500 bytes"),
        ([(f"{i}", b"") for i in range(6)], "up to 5 files"),
    ],
)
def test_what_is_too_large_is_refused(tmp_path, folder, members, error):
    path = _zip(tmp_path / "a.zip", members)
    with pytest.raises(archives.TooLargeError, match=error):
        archives.unpack(path, folder, _LIMITS)


def test_a_member_that_is_larger_than_it_says_is_refused(tmp_path, folder):
    path = _zip(tmp_path / "a.zip", [("bomb", bytes(100_000))])
    data = path.read_bytes()
    true, told = (100_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    assert data.count(true) == 2
    path.write_bytes(data.replace(true, told))
    with pytest.raises((archives.TooLargeError, archives.ArchiveError)):
        archives.unpack(path, folder, _LIMITS)
    assert sum(map(len, _all(folder).values())) <= 1000 + 2**18


def test_damage_is_told(tmp_path, folder):
    path = _zip(tmp_path / "a.zip", [("a", os.urandom(500))])
    data = bytearray(path.read_bytes())
    data[200] ^= 255
    path.write_bytes(data)
    with pytest.raises(archives.ArchiveError, match="cannot be unpacked"):
        archives.unpack(path, folder, _LIMITS)
    path.write_bytes(b"no zip at all")
    with pytest.raises(archives.ArchiveError, match="cannot be unpacked"):
        archives.unpack(path, folder, _LIMITS)


@pytest.mark.parametrize("names", [("a", "a"), ("a", "a/b"), ("a/b", "a")])
def test_two_members_of_one_name_are_refused(tmp_path, folder, names):
    with pytest.warns(UserWarning) if names == ("a", "a") else contextlib.nullcontext():
        path = _zip(tmp_path / "a.zip", [(name, b"1") for name in names])
    with pytest.raises(archives.ArchiveError, match="one name"):
        archives.unpack(path, folder, _LIMITS)


def test_equal_files_are_packed_to_equal_bytes(tmp_path):
    first, second = tmp_path / "1", tmp_path / "2"
    for number, folder in enumerate((first, second)):
        folder.mkdir()
        (folder / "a").write_bytes(b"abc" * 300_000)
        os.utime(folder / "a", (number * 1e6, number * 1e6))
    packed = [b"".join(archives.pack([("x/a", f / "a")])) for f in (first, second)]
    assert packed[0] == packed[1]
    with zipfile.ZipFile(io.BytesIO(packed[0])) as z:
        assert z.read("x/a") == b"abc" * 300_000 and z.testzip() is None


def test_files_in_memory_are_packed_as_files_are(tmp_path):
    files = {"result.json": b"{}", "x/größe.npy": bytes(range(256)), "a": b""}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    on_disk = [(name, tmp_path / name) for name in sorted(files)]
    packed = archives.packed(files)
    assert packed == b"".join(archives.pack(on_disk))
    with zipfile.ZipFile(io.BytesIO(packed)) as z:
        assert z.testzip() is None
        assert {name: z.read(name) for name in z.namelist()} == files
    assert zipfile.ZipFile(io.BytesIO(archives.packed({}))).namelist() == []


@pytest.mark.parametrize(
    "given, name",
    [
        ("scan.nii.gz", "scan.nii.gz"),
        ("a b (1)[2].png", "a b (1)[2].png"),
        ("../../etc/passwd", "passwd"),
        ("C:\\x\\scan.png", "scan.png"),
        (".bashrc", "bashrc"),
        ("..", "file"),
        ("", "file"),
        ("a\x00b\nc.png", "a_b_c.png"),
        ("Gehirn_Übung.nii", "Gehirn_Übung.nii"),
        ("x" * 400 + ".nii.gz", "x" * 193 + ".nii.gz"),
    ],
)
def test_names_are_safe_and_as_they_were_given_where_they_can_be(given, name):
    assert safe_names.safe_name(given) == name
    assert len(safe_names.safe_name(given).encode()) <= 200


def test_paths_stay_inside():
    assert str(safe_names.safe_path("series/../1.dcm")) == "series/1.dcm"
    assert str(safe_names.safe_path("/a//b")) == "a/b"
