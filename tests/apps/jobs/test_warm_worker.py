"""A warm worker that several ask is one process, ready for all; cancelled, it starts anew."""

from __future__ import annotations

import asyncio
import sys

import pytest

from kauldron.apps.jobs import _workers
from kauldron.apps.jobs._folders import JobFolder

_PROGRAM = """
import json, os, sys, time
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    with open(asked["out"], "a") as file:
        file.write(f"{os.getpid()}\\n")
    time.sleep(asked["call"].get("secs", 0))
    print(json.dumps({"result": {}}), flush=True)
"""


def _has_begun(worker):
    return True


def _has_a_process(worker):
    return worker._process is not None


@pytest.mark.parametrize("moment", [_has_begun, _has_a_process])
@pytest.mark.parametrize("num_starting", [1, 3])
def test_a_call_while_the_worker_starts_waits_for_it(tmp_path, num_starting, moment):
    async def run():
        worker = _workers.WarmWorker(
            [sys.executable, "-c", _PROGRAM], {}, JobFolder(tmp_path / "worker")
        )
        try:
            starting = [
                asyncio.create_task(worker.start()) for _ in range(num_starting)
            ]
            await asyncio.sleep(0)
            while not moment(worker):
                await asyncio.sleep(0)
            asked = [worker.ask({}, tmp_path / "out") for _ in range(2)]
            await asyncio.gather(*starting, *asked)
        finally:
            await worker.stop()

    asyncio.run(run())
    pids = (tmp_path / "out").read_text().split()
    assert len(pids) == 2
    assert len(set(pids)) == 1


def test_a_cancelled_call_is_not_answered_to_the_next_one(tmp_path):
    out = tmp_path / "out"

    async def run():
        worker = _workers.WarmWorker(
            [sys.executable, "-c", _PROGRAM], {}, JobFolder(tmp_path / "worker")
        )
        try:
            call = asyncio.create_task(worker.ask({"secs": 60}, out))
            while not (out.exists() and out.read_text().endswith("\n")):
                await asyncio.sleep(0.01)
            first = worker._process
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert first.poll() is not None  # nobody computes what nobody waits for
            await worker.ask({}, out)
        finally:
            await worker.stop()

    asyncio.run(asyncio.wait_for(run(), 30))
    assert len(set(out.read_text().split())) == 2
