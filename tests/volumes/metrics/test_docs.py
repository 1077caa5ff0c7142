"""The page on measures of volumes is true."""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
from absl import flags

from kauldron import kd
from kauldron.cli import volumes_evaluate
from tests import docs_snippets


def test_python_blocks_of_the_page_run_and_print_what_it_says(tmp_path):
    assert docs_snippets.run_page("volume_metrics.md", tmp_path) == 7
    assert (tmp_path / "views.png").exists() and (tmp_path / "losses.png").exists()


def test_the_command_of_the_page_runs(tmp_path, monkeypatch):
    page = (docs_snippets.DOCS / "volume_metrics.md").read_text("utf-8")
    (line,) = re.findall(r"^(kauldron volumes evaluate .*)$", page, re.MULTILINE)
    monkeypatch.chdir(tmp_path)
    array = np.random.default_rng(0).integers(0, 3, (4, 5, 6)).astype(np.uint8)
    for folder in ("runs/seg_out", "DIR"):
        (tmp_path / folder).mkdir(parents=True)
        kd.volumes.write(f"{folder}/case_1.nii.gz", kd.volumes.Image(array))
    program, *args = shlex.split(line)
    argv = [program, *args[2:]]
    assert volumes_evaluate.main(argv, flag_values=flags.FlagValues()) == 0
    written = json.loads((tmp_path / "metrics.json").read_text())
    assert {row["metric"] for row in written["aggregates"]} == {"dice", "hd95", "asd"}
