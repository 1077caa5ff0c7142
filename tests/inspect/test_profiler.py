"""The profiler writes traces of the chosen steps, and always stops."""

from __future__ import annotations

import gzip
import json

import jax
import pytest

from kauldron import kd
from kauldron.recording import profiler as profiler_lib
from tests.train import small_run


def _is_tracing():
    try:
        jax.profiler.stop_trace()
    except RuntimeError:
        return False
    return True


def _traces(workdir):
    return sorted(workdir.glob("profile/plugins/profile/*/*.xplane.pb"))


def test_trace_of_the_chosen_steps_is_written(tmp_path, capfd):
    small_run.make_trainer(
        tmp_path,
        profiler=kd.inspect.Profiler(first_profile=3, num_profile_steps=2),
    ).train()
    assert not _is_tracing()
    [file] = _traces(tmp_path)
    assert file.stat().st_size > 0
    [perfetto] = tmp_path.glob("profile/plugins/profile/*/perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(perfetto.read_bytes()))["traceEvents"]
    calls = [e for e in events if "PjitFunction(_traced_step)" in e.get("name", "")]
    calls.sort(key=lambda e: e["ts"])
    # Each call is there from Python's side, and inside it from that of C++.
    ends, num_calls = 0.0, 0
    for e in calls:
        num_calls += e["ts"] >= ends
        ends = max(ends, e["ts"] + e["dur"])
    assert num_calls == 2
    assert "Profile written to" in capfd.readouterr().err


@pytest.mark.parametrize("fails", [False, True])
def test_trace_that_is_running_ends_with_the_run(tmp_path, fails):
    class Failing(kd.train.Hook):
        def before_step(self, run, *, step, state, batch):
            if fails and step == 4:
                raise RuntimeError("stop here")

    trainer = small_run.make_trainer(
        tmp_path,
        num_train_steps=5,
        hooks={"failing": Failing()},
        profiler=kd.inspect.Profiler(first_profile=3, num_profile_steps=100),
    )
    if fails:
        with pytest.raises(RuntimeError, match="stop here"):
            trainer.train()
    else:
        trainer.train()
    assert not _is_tracing()
    assert len(_traces(tmp_path)) == 1


def test_nothing_is_traced_unless_asked(tmp_path):
    trainer = small_run.make_trainer(tmp_path, num_train_steps=1)
    assert isinstance(trainer.profiler, kd.inspect.NoopProfiler)
    trainer.train()
    assert not (tmp_path / "profile").exists()


@pytest.fixture
def began(monkeypatch):
    steps = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda *a, **k: steps.append("on"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: steps.append("off"))
    return steps


def test_traces_repeat_after_an_interval_of_steps(tmp_path, began):
    profiler = kd.inspect.Profiler(
        first_profile=2, num_profile_steps=2, every_steps=5, workdir=tmp_path
    )
    log = []
    for step in range(14):
        profiler(step)
        log += [(step, e) for e in began]
        began.clear()
    assert log == [(2, "on"), (4, "off"), (7, "on"), (9, "off"), (12, "on")]


def test_trace_ends_when_its_time_is_over(tmp_path, began, monkeypatch):
    now = 0.0
    monkeypatch.setattr(profiler_lib.time, "monotonic", lambda: now)
    profiler = kd.inspect.Profiler(
        first_profile=0, profile_duration_ms=2500, every_secs=60, workdir=tmp_path
    )
    log = []
    for step in range(100):
        profiler(step)
        log += [(step, e) for e in began]
        began.clear()
        now += 1.0
    assert log == [(0, "on"), (3, "off"), (60, "on"), (63, "off")]


def test_impossible_values_are_refused():
    with pytest.raises(ValueError, match=r"`Profiler\.num_profile_steps`.*got 0"):
        kd.inspect.Profiler(num_profile_steps=0)
