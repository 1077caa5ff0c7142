"""What is compiled for the tests of one session serves the next ones."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import zlib

import pytest

from tests import kept_compilations

_DAY = 24 * 3600


def _write(folder, name, data, *, days_old=0.0):
    path = folder / name
    path.write_bytes(data)
    then = path.stat().st_mtime - days_old * _DAY
    os.utime(path, (then, then))
    return path


def test_entries_of_a_session_are_there_in_the_next(tmp_path):
    first = kept_compilations.open_session(tmp_path)
    _write(first, "program-cache", zlib.compress(b"code"))
    kept_compilations.close_session(first, tmp_path)
    second = kept_compilations.open_session(tmp_path)
    assert zlib.decompress((second / "program-cache").read_bytes()) == b"code"
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == [second.name]


def test_half_an_entry_is_not_kept(tmp_path):
    folder = kept_compilations.open_session(tmp_path)
    data = zlib.compress(bytes(range(256)))
    for i in range(len(data)):  # wherever the writing process was killed
        _write(folder, f"half{i}-cache", data[:i])
    _write(folder, "whole-cache", data)
    kept_compilations.close_session(folder, tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["whole-cache"]


def test_sessions_side_by_side_keep_both(tmp_path):
    one, two = (kept_compilations.open_session(tmp_path) for _ in range(2))
    for folder, own in ((one, "one-cache"), (two, "two-cache")):
        _write(folder, "both-cache", zlib.compress(b"both"))
        _write(folder, own, zlib.compress(b"own"))
    kept_compilations.close_session(one, tmp_path)
    kept_compilations.close_session(two, tmp_path)
    kept = sorted(p.name for p in tmp_path.iterdir())
    assert kept == ["both-cache", "one-cache", "two-cache"]


def test_what_is_older_than_a_week_is_compiled_anew(tmp_path):
    _write(tmp_path, "old-cache", zlib.compress(b"old"), days_old=7.1)
    _write(tmp_path, "young-cache", zlib.compress(b"young"), days_old=6.9)
    running = kept_compilations.open_session(tmp_path)
    assert [p.name for p in running.iterdir()] == ["young-cache"]
    assert not (tmp_path / "old-cache").exists()


@pytest.mark.slow
def test_second_session_compiles_nothing(tmp_path):
    root = pathlib.Path(__file__).parents[1]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    command = [sys.executable, "-m", "pytest", f"-ocache_dir={tmp_path}"]
    programs = []
    for _ in range(2):
        subprocess.run(
            [*command, "tests/losses/test_losses.py"],
            cwd=root,
            env=environment,
            check=True,
        )
        programs.append(sorted(tmp_path.glob("d/compilations/*")))
    assert len(programs[0]) > 10
    assert programs[1] == programs[0]
