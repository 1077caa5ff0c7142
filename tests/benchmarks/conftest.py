"""Benchmarks write what they measure into one file, for the table of the documentation."""

from __future__ import annotations

import os
import pathlib
import shlex
import sys

import pytest

from tests.benchmarks import figures as figures_lib

_COLLECTED = figures_lib.Recorder()


@pytest.fixture
def figures(request):
    """Where a benchmark writes its numbers."""
    return _COLLECTED.of(request.path.name)


def pytest_sessionfinish():
    if not _COLLECTED.collected or "BENCH_ROUNDS" in os.environ:
        return  # one round says little
    devices = os.environ.get("KAULDRON_TEST_DEVICES")
    words = [f"KAULDRON_TEST_DEVICES={devices}"] if devices else []
    words += ["pytest", *map(shlex.quote, sys.argv[1:])]
    command = " ".join(words).replace(f"{figures_lib.ROOT}/", "")
    run = figures_lib.describe(command, _COLLECTED.collected)
    path = os.environ.get("BENCH_JSON")  # where several run at once
    figures_lib.write(run, pathlib.Path(path) if path else figures_lib.LATEST)
