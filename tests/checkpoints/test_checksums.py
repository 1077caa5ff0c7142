"""Checksums of a folder: what they cover, and what is said of a file that has changed."""

from __future__ import annotations

import hashlib
import json
import os
import pathlib

import google_crc32c
import pytest
from etils import epath

from kauldron.checkpoints import _checksums

_MEBIBYTE = 2**20


@pytest.fixture
def folder(tmp_path):
    folder = epath.Path(tmp_path)
    (folder / "a").write_bytes(b"abc")
    (folder / "state/deep").mkdir(parents=True)
    (folder / "state/deep/b").write_bytes(b"")
    # What is written after the checksums, in any folder.
    for name in ("_CHECKPOINT_METADATA", "state/commit_success.txt"):
        (folder / name).write_text("later")
    _checksums.write(folder)
    return folder


def _sha256(content):
    return hashlib.sha256(content).hexdigest()


def _crc32c(content):
    return f"{google_crc32c.value(content):08x}"


def _content(folder):
    return json.loads((folder / "checksums.json").read_text())


def test_sizes_and_checksums_of_all_files_and_of_themselves_are_written(folder):
    # CRC-32C of "abc" is one of the vectors of its tables.
    assert _crc32c(b"abc") == "364b3fb7"
    files = {
        "a": {"bytes": 3, "crc32c": "364b3fb7"},
        "state/deep/b": {"bytes": 0, "crc32c": "00000000"},
    }
    as_text = json.dumps(files, sort_keys=True).encode()
    assert _content(folder) == {"files": files, "sha256": _sha256(as_text)}
    assert _checksums.find_damage(folder) == []
    assert _checksums.find_damage(folder, sizes_only=True) == []
    assert not list(folder.glob("checksums.json?*"))


def test_what_is_not_covered_may_change_and_what_comes_later_is_not_missed(folder):
    for name in ("_CHECKPOINT_METADATA", "state/commit_success.txt", "more"):
        (folder / name).write_text("another")
    assert _checksums.find_damage(folder) == []


@pytest.mark.parametrize(
    ("damage", "of_all", "of_sizes"),
    [
        (lambda f: f.write_bytes(b"abd"), ["its content has changed"], []),
        (lambda f: f.write_bytes(b"abcd"), ["has 4 bytes, 3 were written"], None),
        (lambda f: f.write_bytes(b"ab"), ["has 2 bytes, 3 were written"], None),
        (lambda f: f.unlink(), ["is missing"], None),
    ],
)
def test_damage_is_named(folder, damage, of_all, of_sizes):
    damage(folder / "a")
    of_sizes = of_all if of_sizes is None else of_sizes
    assert _checksums.find_damage(folder) == [f"a: {x}" for x in of_all]
    assert _checksums.find_damage(folder, sizes_only=True) == [
        f"a: {x}" for x in of_sizes
    ]


def test_what_cannot_be_read_is_told_with_the_reason(folder):
    (folder / "a").unlink()
    (folder / "a").mkdir()
    assert _checksums.find_damage(folder) == [
        f"a: cannot be read ({os.strerror(21)})"  # EISDIR
    ]


def _write_as_before(folder):
    """As versions have done that knew SHA-256 alone."""
    files = {
        os.fspath(path.relative_to(folder)): {
            "bytes": path.stat().st_size,
            "sha256": _sha256(path.read_bytes()),
        }
        for path in pathlib.Path(folder).rglob("*")
        if path.is_file()
    }
    as_text = json.dumps(files, sort_keys=True).encode()
    content = {"files": files, "sha256": _sha256(as_text)}
    (folder / "checksums.json").write_text(json.dumps(content))


@pytest.mark.parametrize("write", [_checksums.write, _write_as_before])
@pytest.mark.parametrize("size", [_MEBIBYTE - 1, _MEBIBYTE, _MEBIBYTE + 1, 5_000_000])
def test_every_byte_of_a_large_file_counts(tmp_path, size, write):
    folder, content = epath.Path(tmp_path), bytearray(size)
    (folder / "large").write_bytes(content)
    write(folder)
    if write is _checksums.write:
        assert _content(folder)["files"]["large"] == {
            "bytes": size,
            "crc32c": _crc32c(bytes(size)),
        }
    for place in {0, size // 2, min(_MEBIBYTE, size - 1), size - 1}:
        content[place] = 1
        (folder / "large").write_bytes(content)
        assert _checksums.find_damage(folder) == ["large: its content has changed"]
        content[place] = 0
    (folder / "large").write_bytes(content)
    assert _checksums.find_damage(folder) == []


@pytest.mark.parametrize("write", [_checksums.write, _write_as_before])
def test_every_bit_of_a_file_counts(tmp_path, write):
    folder, content = epath.Path(tmp_path), bytearray(os.urandom(64))
    (folder / "a").write_bytes(content)
    write(folder)
    for bit in range(8 * len(content)):
        content[bit // 8] ^= 1 << bit % 8
        (folder / "a").write_bytes(content)
        assert _checksums.find_damage(folder) == ["a: its content has changed"]
        content[bit // 8] ^= 1 << bit % 8


def test_files_can_be_added_to_checksums_of_before(tmp_path):
    folder = epath.Path(tmp_path)
    (folder / "a").write_bytes(b"abc")
    _write_as_before(folder)
    (folder / "b").write_bytes(b"abc")
    _checksums.add(folder, ["b"])
    kinds = {name: {*entry} for name, entry in _content(folder)["files"].items()}
    assert kinds == {"a": {"bytes", "sha256"}, "b": {"bytes", "crc32c"}}
    assert _checksums.find_damage(folder) == []
    for name in "ab":
        (folder / name).write_bytes(b"abd")
    assert _checksums.find_damage(folder) == [
        "a: its content has changed",
        "b: its content has changed",
    ]


def test_an_entry_without_a_checksum_fits_no_file(folder):
    files = {"a": {"bytes": 3}}
    as_text = json.dumps(files, sort_keys=True).encode()
    content = {"files": files, "sha256": _sha256(as_text)}
    (folder / "checksums.json").write_text(json.dumps(content))
    assert _checksums.find_damage(folder) == ["a: its content has changed"]


def test_a_checksum_that_was_changed_is_no_damage_of_the_file(folder):
    content = _content(folder)
    content["files"]["a"]["bytes"] = 4
    (folder / "checksums.json").write_text(json.dumps(content))
    assert _checksums.find_damage(folder) == ["checksums.json: its content has changed"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("{", "Expecting property name enclosed in double quotes: "),
        ("{}", "'files'"),
        ('{"files": {}}', "'sha256'"),
        ("[]", "list indices must be integers"),
        ("1", "'int' object is not subscriptable"),
    ],
)
def test_checksums_that_cannot_be_read_are_damage(folder, text, why):
    (folder / "checksums.json").write_text(text)
    (problem,) = _checksums.find_damage(folder)
    assert problem.startswith(f"checksums.json: cannot be read ({why}")


def test_without_checksums_nobody_knows_and_none_are_added(tmp_path):
    folder = epath.Path(tmp_path)
    (folder / "a").write_bytes(b"abc")
    assert _checksums.find_damage(folder) is None
    _checksums.add(folder, ["a"])
    assert _checksums.find_damage(folder) is None


def test_files_that_come_later_can_be_added(folder):
    before = _content(folder)["files"]
    (folder / "metrics").mkdir()
    (folder / "metrics/m").write_bytes(b"{}")
    _checksums.add(folder, ["metrics/m"])
    added = {"metrics/m": {"bytes": 2, "crc32c": _crc32c(b"{}")}}
    content = _content(folder)
    assert content["files"] == {**before, **added}
    # Whatever the order of the files in it.
    as_text = json.dumps({**added, **before}, sort_keys=True).encode()
    assert content["sha256"] == _sha256(as_text)
    assert _checksums.find_damage(folder) == []
    (folder / "metrics/m").write_bytes(b"[]")
    assert _checksums.find_damage(folder) == ["metrics/m: its content has changed"]
