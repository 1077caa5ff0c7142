"""Every writer keeps what a run relies on; and a writer that does not is found out."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest

from kauldron import kd
from tests import docs_snippets


def _read_lines(workdir):
    path = workdir / "metrics.jsonl"
    for line in path.read_text().splitlines() if path.exists() else ():
        record = json.loads(line)
        collection, step = record.pop("collection"), record.pop("step")
        yield from ((collection, step, *item) for item in record.items())


def _read_arrays(workdir):
    for folder in sorted(workdir.glob("*/npz")):
        files = folder.glob("step_*.npz")
        for file in sorted(files, key=lambda f: int(f.stem.removeprefix("step_"))):
            with np.load(file) as arrays:
                for name, value in arrays.items():
                    if value.shape == () and value.dtype.kind == "f":
                        collection, step = folder.parent.name, file.stem[5:]
                        yield collection, int(step), name, float(value)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Own(kd.train.Writer):
    """Adds a line to a file of its own; `mistake` names what it does wrong."""

    mistake: str = ""

    @property
    def _path(self):
        return self.workdir / "own.jsonl"

    def write(self, step, values):
        if self.mistake == "nan" and not np.isfinite([*values.scalars.values()]).all():
            raise ValueError("no place for NaN")
        lines = [[self.collection, step, k, v] for k, v in values.scalars.items()]
        lines = [json.dumps(x) + "\n" for x in lines]
        if self.mistake == "twice":
            lines *= 2
        try:
            with open(self._path, "a") as f:
                f.write("".join(lines))
        except OSError:
            if self.mistake != "silent":
                raise

    def rewind(self, step):
        if self.mistake == "rewind" or not self._path.exists():
            return
        kept = []
        for line in self._path.read_text().splitlines():
            collection, at, *_ = json.loads(line)
            is_of_other = collection != self.collection and self.mistake != "others"
            if is_of_other or at < step:
                kept.append(line + "\n")
        self._path.write_text("".join(kept))

    def close(self):
        if self.mistake == "close" and vars(self).setdefault("closed", False):
            raise RuntimeError("closed twice")
        vars(self)["closed"] = True


def _read_own(workdir):
    path = workdir / "own.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [tuple(json.loads(line)) for line in lines]


@pytest.mark.parametrize(
    ("make", "read"),
    [
        (lambda w: kd.train.KDMetricWriter(workdir=w), _read_lines),
        (lambda w: kd.train.KDMetricWriter(workdir=w, save_images=True), _read_lines),
        (
            lambda w: kd.train.MultiWriter(
                workdir=w,
                writers={
                    "files": kd.train.KDMetricWriter(workdir=w),
                    "own": Own(workdir=w),
                },
            ),
            _read_lines,
        ),
        (
            lambda w: kd.train.MultiWriter(
                workdir=w,
                writers={
                    "files": kd.train.KDMetricWriter(workdir=w),
                    "own": Own(workdir=w),
                },
            ),
            _read_own,
        ),
        (
            lambda w: kd.contrib.train.NpzWriter(workdir=w, save_scalars=True),
            _read_arrays,
        ),
        (lambda w: kd.train.NoopWriter(workdir=w), None),
        (lambda w: Own(workdir=w), _read_own),
    ],
    ids=["files", "pictures", "several", "several, own", "npz", "noop", "own"],
)
def test_writer_keeps_what_a_run_relies_on(make, read):
    kd.testing.check_writer(make, read=read)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("twice", "kept other numbers of 'train'"),
        ("rewind", "kept other numbers of 'train'"),
        ("others", "kept other numbers of 'test'"),
        ("nan", "no place for NaN"),
        ("close", "closed twice"),
        ("silent", r"Numbers of steps \[1, 2\] are lost unsaid"),
    ],
)
def test_a_writer_with_a_mistake_is_found_out(mistake, words):
    with pytest.raises(Exception, match=words) as e:
        kd.testing.check_writer(
            lambda w: Own(workdir=w, mistake=mistake), read=_read_own
        )
    assert re.match("While checking: .", e.value.__notes__[-1])


def test_a_tracker_takes_twenty_lines_and_six_methods_at_most():
    page = (docs_snippets.DOCS / "logging.md").read_text()
    code = page.split("# file: sqlite_tracker.py\n")[1].split("```")[0]
    written = code[code.index("class ") :].split("\n")
    assert sum(bool(line.strip()) for line in written) <= 20
    assert kd.train.Writer.__abstractmethods__ == {"write"}
    # What one may implement; the rest is done by the base.
    own = {"write", "describe", "rewind", "flush", "close", "unwritten"}
    assert own <= {*vars(kd.train.Writer)}
    assert {f.name for f in dataclasses.fields(kd.train.Writer)} >= {"workdir"}


_ALONE = """
import sys
from kauldron import recording, summaries
values = recording.Measured(
    scalars={"x": 0.5}, summaries={"text": "a", "points": summaries.Histogram([1.0])}
)
writers = {"files": recording.KDMetricWriter(workdir=sys.argv[1])}
writer = recording.MultiWriter(workdir=sys.argv[1], writers=writers, collection="notes")
writer.write(3, values)
writer.close()
print([name for name in ("jax", "flax") if name in sys.modules])
"""


def test_a_writer_alone_imports_no_jax(tmp_path):
    root = pathlib.Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": str(root), "KAULDRON_TYPECHECKING": ""}
    command = [sys.executable, "-c", _ALONE, str(tmp_path)]
    assert subprocess.check_output(command, env=env, text=True) == "[]\n"
    assert [*_read_lines(tmp_path)] == [("notes", 3, "x", 0.5)]
