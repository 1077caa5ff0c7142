"""Plans of memory against trainings that were measured, and a decoder of 70 billion."""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import time

import pytest

from tests.inspect import measured_peak

_ROOT = pathlib.Path(__file__).parents[2]
_TARGET_SECS = 60


def _run(*args: str, env: dict[str, str]) -> dict:
    env = {**os.environ, "PYTHONPATH": str(_ROOT), **env}
    command = [sys.executable, *args]
    done = subprocess.run(
        command, capture_output=True, text=True, env=env, cwd=_ROOT, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="Linux only")
@pytest.mark.parametrize(
    ("path", "factor"),
    [
        ("examples/digits_classifier.py", 1),
        ("examples/digits_vit.py", 2),
        ("examples/digits_autoencoder.py", 32),
        ("configs/python_docs.py", 1),
    ],
)
def test_planned_peak_is_within_15_percent_of_the_measured_one(path, factor):
    script = "tests/inspect/measured_peak.py"
    found = _run(script, path, str(factor), env=measured_peak.ENVIRONMENT)
    assert found["compiled"] == pytest.approx(found["measured"], rel=0.15)


@pytest.mark.slow
def test_decoder_of_70_billion_on_4096_devices_is_answered_within_a_minute():
    start = time.monotonic()
    found = _run(
        *("-m", "kauldron.cli.main", "run", "estimate_memory", "--json"),
        *("--cfg=tests/inspect/llama_70b.py", "--devices=4096", "--device_gb=80"),
        env={},
    )
    assert time.monotonic() - start < _TARGET_SECS
    # What its authors count: 80 layers, an embedding and a head of 128256 x 8192.
    layer = 8192 * (2 * 64 + 2 * 8) * 128 + 3 * 8192 * 28672 + 2 * 8192
    num_params = 80 * layer + 2 * 128256 * 8192 + 8192
    assert found["num_params"] == num_params
    state = found["num_bytes"]["params"] + found["num_bytes"]["opt_state"]
    assert state == pytest.approx(12 * num_params / 4096, rel=1e-3)
    assert found["num_bytes"]["batch"] == 2 * 8192 * 4
    # With `remat`, each layer keeps its input, and little else lives as long.
    kept = 80 * 8192 * 8192 * 2
    assert kept < found["num_bytes"]["activations"] < 1.5 * kept
    assert found["fits"] is True
