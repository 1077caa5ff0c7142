"""The table of the page on logging names every file that a run leaves in its workdir."""

from __future__ import annotations

import fnmatch
import re

import pytest

from kauldron.cli import train as train_command
from tests.cli.conftest import ROOT

_HEADING = "## What a run leaves in its workdir"


def _rows():
    """(names, what) of each row of the table; a folder ends with a slash."""
    section = (
        (ROOT / "docs/logging.md").read_text().split(_HEADING)[1].split("\n## ")[0]
    )
    rows = [line.split("|")[1:3] for line in section.splitlines() if "`" in line[:4]]
    return [(re.findall(r"`([^`]+)`", names), what.strip()) for names, what in rows]


@pytest.fixture
def left(call, tmp_path, monkeypatch):
    """Names of what a run of a config leaves; folders end with a slash."""
    monkeypatch.setenv("KAULDRON_SIGN_RUNS", "1")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    code, _, err = call(
        train_command.main,
        "--cfg=examples/digits_autoencoder.py",
        f"--cfg.workdir={tmp_path / 'run'}",
        "--cfg.num_train_steps=2",
        "--cfg.log_metrics_every=1",
    )
    assert code == 0, err
    return sorted(
        f"{path.name}/" if path.is_dir() else path.name
        for path in (tmp_path / "run").iterdir()
    )


def test_table_of_the_readme_has_what_a_run_leaves_and_nothing_else(left):
    rows = _rows()
    assert len(rows) > 8
    patterns = [re.sub("<[^>]*>", "*", n) for names, _ in rows for n in names]
    tops = [p.partition("/")[0] + "/" if "/" in p else p for p in patterns]
    unnamed = [x for x in left if not any(fnmatch.fnmatch(x, p) for p in tops)]
    assert not unnamed
    always = [n for names, what in rows if not what.startswith("only ") for n in names]
    missing = {n.partition("/")[0] + "/" if "/" in n else n for n in always} - set(left)
    assert not missing
