"""A flag, and a step, are followed through few files."""

from __future__ import annotations

import os
import re
import subprocess
import sys

from tests.benchmarks import hops


def test_a_flag_and_a_step_visit_few_files():
    """As users have it: without the checks of annotations that tests have."""
    env = {k: v for k, v in os.environ.items() if k != "KAULDRON_TYPECHECKING"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.hops"],
        capture_output=True,
        text=True,
        env=env,
        check=True,
    )
    flag, step = map(int, re.findall(r": (\d+) visits", done.stdout))
    assert flag <= 25 and step <= 35, done.stdout


def test_a_visit_is_a_change_of_the_file():
    from kauldron import errors

    assert len(hops.list_visits(lambda: errors.nearest("a", ["b"]))) == 1
    assert hops.list_visits(lambda: max(1, 2)) == []
