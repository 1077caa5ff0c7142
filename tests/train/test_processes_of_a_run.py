"""Runs of several real processes: killed, stopped, continued, started wrongly.

Each test starts several Python processes: seconds on a quiet machine.
"""

from __future__ import annotations

import functools
import json
import signal

import numpy as np
import pytest

from tests.faults import chains
from tests.train import processes as processes_lib

_SLOWLY = ("--cfg.num_train_steps=400", "--cfg.hooks.slow.secs=0.1")


def _records(workdir):
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def _state(workdir, step=12):
    return chains.read_arrays(workdir / "checkpoints" / f"ckpt_{step}" / "state")


def _assert_alike(workdir, expected):
    """Sums over devices are added in another order."""
    records, others = _records(workdir), _records(expected)
    assert len(records) == len(others)
    for a, b in zip(records, others, strict=True):
        assert a.keys() == b.keys()
        assert a["collection"] == b["collection"]
        for name in a.keys() - {"collection"}:
            assert a[name] == pytest.approx(b[name], rel=1e-4), (name, a)
    found, wanted = _state(workdir), _state(expected)
    assert found.keys() == wanted.keys()
    for path, array in wanted.items():
        np.testing.assert_allclose(found[path], array, rtol=1e-4, atol=1e-5)


def test_two_processes_count_each_example_once_and_write_once(tmp_path):
    workdir = tmp_path / "run"
    shortly = ("--cfg.num_train_steps=2", "--cfg.checkpointer=None")
    unchecked = {"KAULDRON_TYPECHECKING": ""}  # checking annotations takes seconds
    with processes_lib.train(workdir, 2, *shortly, num_devices=2, env=unchecked) as run:
        logs = run.finish(timeout=250)
    assert "Finished: " in logs[0]
    assert "step" not in logs[1]
    [evaluated] = [r for r in _records(workdir) if r["collection"] == "eval"]
    # 43 examples in batches of 16: a row counted twice, or not at all, shows.
    num_right = evaluated["metrics/accuracy"] * 43
    assert num_right == pytest.approx(round(num_right), abs=1e-3)
    assert len(list((workdir / "launches").glob("*.json"))) == 1


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Number of processes and sharding -> workdir of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("whole")

    @functools.cache
    def run(num_processes, sharding="data"):
        workdir = folder / f"{num_processes}-{sharding}"
        flag = f"--cfg.sharding={sharding}"
        with processes_lib.train(workdir, num_processes, flag) as started:
            started.finish()
        return workdir

    return run


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("num_processes", "sharding"), [(2, "data"), (2, "fsdp"), (4, "fsdp=2")]
)
def test_several_processes_train_and_evaluate_as_one(whole, num_processes, sharding):
    several = whole(num_processes, sharding)
    _assert_alike(several, whole(1))
    # What is one of the run is written once.
    launches = list((several / "launches").glob("*.json"))
    assert len(launches) == 1
    assert f'"num_processes": {num_processes}' in launches[0].read_text()
    assert not (several / ".processes").exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("victim", [0, 1])
def test_run_with_a_killed_process_ends_and_continues_with_the_same_bits(
    tmp_path, whole, victim
):
    workdir, sharding = tmp_path / "run", "--cfg.sharding=fsdp"
    with processes_lib.train(workdir, 2, sharding, "--cfg.hooks.slow.secs=0.3") as run:
        run.wait_until((workdir / "checkpoints" / "ckpt_4").exists)
        run.send(victim, signal.SIGKILL)
        codes = run.wait()  # JAX notices within a minute
        assert codes[victim] == -signal.SIGKILL
        assert codes[1 - victim] not in (0, 75)
        for i, log in enumerate((run.log(0), run.log(1))):
            last = log.splitlines()[-1]
            assert last.startswith(f"Error: Process {i} of 2 was ended") or (
                f"Process {i} of 2 has lost another process" in last
            )
            assert "Start all processes again with the same workdir" in last
    assert not (workdir / "checkpoints" / "ckpt_12").exists()
    with processes_lib.train(workdir, 2, sharding) as again:
        again.finish()
        assert "at step" in again.log(0)
    expected = whole(2, "fsdp")
    found, wanted = _state(workdir), _state(expected)
    assert found.keys() == wanted.keys()
    for path, array in wanted.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path)
    assert _records(workdir) == _records(expected)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_all_stop_where_one_is_told_to_and_another_number_continues(tmp_path, whole):
    workdir = tmp_path / "run"
    slowly = "--cfg.hooks.slow.secs=1.0"  # processes agree about once a second
    with processes_lib.train(workdir, 2, slowly) as run:
        run.wait_until((workdir / "checkpoints" / "ckpt_4").exists)
        run.send(1, signal.SIGTERM)
        assert run.wait() == [75, 75]
        stops = [run.log(i).splitlines()[-1].partition(" (/")[0] for i in range(2)]
    reasons = [stop.partition(" at step ")[0] for stop in stops]
    assert reasons == ["Stopped by another process", "Stopped by SIGTERM"]
    steps = {stop.partition(" at step ")[2] for stop in stops}
    assert len(steps) == 1
    with processes_lib.train(workdir, 4) as more:
        more.finish()
    _assert_alike(workdir, whole(1))


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        (
            ["--cfg.model.layers[0][0]=8"],
            [
                "cfg.model.layers[0][0]: 16 in process 0, 8 in process 1",
                "state.params.layers_0.kernel: float32[3, 16]",
            ],
        ),
        (
            ["--cfg.sharding=fsdp"],
            ['cfg.sharding: nothing in process 0, "fsdp" in process 1'],
        ),
        (
            ["--cfg.num_train_steps=11"],
            ["last step: 12 in process 0, 11 in process 1"],
        ),
        (
            ["--cfg.eval_ds.data_source[0]=42"],
            ["examples of cfg.evals['eval'].ds: 43 in process 0, 42 in process 1"],
        ),
        (["--jax_enable_x64"], ["jax_enable_x64: False in process 0, True in"]),
        (["--cfg.train_ds.batch_size=18"], ["Process 1 has failed, so none is"]),
    ],
)
def test_programs_that_differ_are_told_before_anything_is_written(
    tmp_path, arguments, messages
):
    workdir = tmp_path / "run"
    with processes_lib.train(workdir, 2, each={1: arguments}) as run:
        codes = run.wait()
        logs = [run.log(0), run.log(1)]
    assert codes == [2, 2], logs
    for message in messages:
        assert message in logs[0]
    assert "Traceback" not in logs[0] + logs[1]
    assert not workdir.exists()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_failure_of_one_process_in_a_step_ends_the_others(tmp_path):
    program = """
import sys
from kauldron import kd, sharding
from kauldron._base import processes
from tests.train import small_run
workdir, num_processes, index, port = sys.argv[1:]
place = processes.Place(f"localhost:{port}", int(index), int(num_processes))

class Fail(kd.train.Hook):
    def before_step(self, run, *, step, state, batch):
        if step == 3 and index == "1":
            raise OSError("No space left on device")

code = 0
with sharding.joined_processes(place, timeout_secs=100, workdir=workdir):
    try:
        small_run.make_trainer(workdir, hooks={"fail": Fail()}).train()
    except OSError as e:
        print(f"FAILED {e}", flush=True)
        processes.leave_if_failed(1, [1])
"""
    with processes_lib.start(program, tmp_path / "run", 2) as run:
        codes = run.wait()
        assert codes[1] == 1 and codes[0] not in (0, 75)
        assert "FAILED No space left" in run.log(1)
        assert "Start all processes again with the same workdir" in run.log(0)
