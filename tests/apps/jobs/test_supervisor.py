"""Jobs from taking to forgetting: every way they end, and what a restart finds."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import signal
import time

import pytest

from kauldron.apps import Call
from kauldron.apps.bundles.errors import AppError
from kauldron.apps.jobs import _devices, _folders, _served, _table
from kauldron.apps.jobs._table import State
from tests.apps.jobs import plain_server


@pytest.fixture
def run(tmp_path, app_path):
    """Runs a coroutine function with a supervisor that works on a state directory."""

    def run(work, *, warm=(), closes=True, **changes):
        async def whole():
            with plain_server.supervised(
                tmp_path / "state", [app_path], **changes
            ) as jobs:
                await jobs.open(warm)
                try:
                    return await asyncio.wait_for(work(jobs), 60)
                finally:
                    await jobs.close()

        return asyncio.run(whole())

    return run


async def _submit(jobs, *, device="auto", **what):
    async with jobs.state.upload() as upload:
        (upload.inputs / "scan.nii.gz").write_text(json.dumps(what))
        call = Call(verb="infer", inputs={"t1": ("inputs/scan.nii.gz",)})
        return jobs.submit(upload, "tissues", call, device).id


async def _until(condition):
    while not condition():
        await asyncio.sleep(0.01)


async def _running(jobs, job_id):
    folder = jobs.state.job(job_id)
    await _until(lambda: folder.process.exists() and folder.process.read_text())
    await _until(lambda: folder.log.stat().st_size)
    return int(folder.process.read_text())


def _is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _living_of(group):
    """Ids of the processes of a group; the dead that nobody has asked for don't live."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            _, _, rest = path.read_text().rpartition(") ")
            state, _, number = rest.split()[:3]
            if number == str(group) and state not in "ZX":
                found.append(path.parent.name)
    return found


def test_a_job_runs_in_a_session_of_its_own_and_its_result_stays(run):
    async def work(jobs):
        job_id = await _submit(jobs, print=["one", "two"], sleep=0.2)
        pid = await _running(jobs, job_id)
        assert os.getsid(pid) == pid != os.getsid(0)
        assert jobs.table.get(job_id).state is State.RUNNING
        await jobs.wait(job_id)
        return job_id

    async def look(jobs):
        job = jobs.table.get(job_id)
        assert (job.state, job.devices, job.num_runs) == (State.DONE, "cpu", 1)
        names = [name for name, _ in jobs.state.job(job_id).results()]
        assert names == ["copy.npy", "result.json"]
        lines = [line async for lines in jobs.follow(job_id, 0) for line in lines]
        assert [text for _, text in lines[1:]] == ["one", "two"]
        again = [x async for lines in jobs.follow(job_id, lines[1][0]) for x in lines]
        assert again == lines[2:]

    job_id = run(work)
    run(look)


@pytest.mark.parametrize(
    "what, told",
    [
        (
            {"error": "of /a/b/scan.nii: no volume.", "code": 2},
            "of scan.nii: no volume.",
        ),
        ({"error": "The disk is full.", "code": 1}, "The disk is full."),
        ({"traceback": True}, "failed with exit code 1; the log of the server"),
        ({"code": 0}, "ended without a result"),
    ],
)
def test_a_job_that_fails_says_why_without_paths_and_tracebacks(run, what, told):
    async def work(jobs):
        job_id = await _submit(jobs, **what)
        await jobs.wait(job_id)
        job = jobs.table.get(job_id)
        assert job.state is State.FAILED and told in job.error
        assert "Traceback" not in job.error and "/" not in job.error

    run(work)


def test_a_process_that_is_killed_fails_its_job_and_no_other(run):
    async def work(jobs):
        first, second = await _submit(jobs, sleep=60), await _submit(jobs)
        os.killpg(await _running(jobs, first), signal.SIGKILL)
        await jobs.wait(first)
        await jobs.wait(second)
        assert "killed (SIGKILL)" in jobs.table.get(first).error
        assert jobs.table.get(second).state is State.DONE

    run(work)


def test_a_job_that_waits_is_cancelled_and_never_starts(run):
    async def work(jobs):
        first, second = await _submit(jobs, sleep=0.3), await _submit(jobs)
        assert await jobs.cancel(second)
        assert jobs.table.get(second).state is State.CANCELLED
        await jobs.wait(first)
        await asyncio.sleep(0.1)
        assert jobs.table.get(second).num_runs == 0
        assert not jobs.state.job(second).out.exists()

    run(work)


def test_a_job_that_runs_is_cancelled_with_all_it_has_started(run):
    async def work(jobs):
        job_id = await _submit(jobs, child=60, sleep=60, print=["x"])
        pid = await _running(jobs, job_id)
        await _until(lambda: len(_living_of(pid)) == 2)
        assert await jobs.cancel(job_id)
        assert jobs.table.get(job_id).state is State.CANCELLED
        await _until(lambda: _living_of(pid) == [])  # a signal takes its time
        assert not await jobs.cancel(job_id)  # once
        later = await _submit(jobs)
        await jobs.wait(later)
        assert jobs.table.get(later).state is State.DONE

    run(work)


@pytest.mark.slow
def test_a_job_that_ignores_sigterm_is_ended_after_three_seconds(run):
    async def work(jobs):
        job_id = await _submit(jobs, ignore_term=True, sleep=60, print=["x"])
        pid = await _running(jobs, job_id)
        started = time.monotonic()
        await jobs.cancel(job_id)
        assert 2.5 < time.monotonic() - started < 6
        assert not _is_alive(pid)
        assert jobs.table.get(job_id).state is State.CANCELLED

    run(work)


def test_jobs_take_turns_on_a_device_and_share_the_others(run):
    async def two():
        return [
            _devices.Device(index=i, platform="gpu", name="H", visible_as=str(i))
            for i in range(2)
        ]

    async def work(jobs):
        ids = [await _submit(jobs, sleep=0.2) for _ in range(3)]
        ids.append(await _submit(jobs, device="cpu"))
        await _until(lambda: jobs.table.get(ids[3]).state is not State.QUEUED)
        states = [jobs.table.get(x) for x in ids[:3]]
        assert [job.devices for job in states] == ["0", "1", ""]
        assert states[2].state is State.QUEUED
        for job_id in ids:
            await jobs.wait(job_id)
        assert {jobs.table.get(x).state for x in ids} == {State.DONE}
        assert jobs.table.get(ids[2]).devices in ("0", "1")

    run(work, find_devices=two)


def test_the_end_of_a_server_interrupts_what_runs_and_keeps_what_waits(run):
    async def begin(jobs):
        first, second = await _submit(jobs, sleep=60, print=["x"]), await _submit(jobs)
        return first, second, await _running(jobs, first)

    async def go_on(jobs):
        assert jobs.table.get(first).state is State.INTERRUPTED
        await jobs.wait(second)
        assert jobs.table.get(second).state is State.DONE
        (jobs.state.job(first).inputs / "scan.nii.gz").write_text("{}")
        assert jobs.run_again(first) and not jobs.run_again(first)
        await jobs.wait(first)
        job = jobs.table.get(first)
        assert (job.state, job.num_runs, job.error) == (State.DONE, 2, "")

    first, second, pid = run(begin)
    assert not _is_alive(pid)
    run(go_on)


def test_a_result_that_was_written_before_the_server_was_killed_stays(run):
    async def begin(jobs):
        job_id = await _submit(jobs)
        await jobs.wait(job_id)
        return job_id

    job_id = run(begin)

    async def look(jobs):
        assert jobs.table.get(job_id).state is State.DONE

    def killed_between(path):
        import sqlite3

        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE jobs SET state = 'running'")

    run(look)
    killed_between(_state_of(run) / "jobs.sqlite")
    run(look)


def _state_of(run):
    async def path(jobs):
        return jobs.state.path

    return run(path)


def test_what_belongs_to_no_job_is_removed_at_the_start(run):
    state = _state_of(run)
    for name in ("uploads/123", "jobs/456"):
        (state / name / "inputs").mkdir(parents=True)
        (state / name / "inputs" / "large.npy").write_bytes(bytes(100))
    _state_of(run)
    assert not list((state / "uploads").iterdir()) and not list(
        (state / "jobs").iterdir()
    )


def test_jobs_are_forgotten_with_their_files_but_not_while_they_are_sent(run):
    async def work(jobs):
        job_id = await _submit(jobs)
        await jobs.wait(job_id)
        with jobs.retention.reading(job_id) as folder:
            await asyncio.sleep(1.1)
            assert folder.path.exists() and jobs.table.get(job_id)
        await _until(lambda: jobs.table.get(job_id) is None)
        assert not folder.path.exists()

    run(work, keep_secs=1)


def test_places_in_the_queue_are_kept_while_files_come(run):
    async def work(jobs):
        full = pytest.raises(_table.QueueFullError)
        with jobs.admitted(), jobs.admitted(), full, jobs.admitted():
            pass
        job_id = await _submit(jobs, sleep=0.1)
        with jobs.admitted(), pytest.raises(_table.QueueFullError), jobs.admitted():
            pass
        await jobs.wait(job_id)

    run(work, max_jobs=2)


@pytest.mark.parametrize(
    "limit, what, told",
    [
        (
            {"max_log_bytes": 1000},
            {"print": ["x" * 2000], "sleep": 60},
            "more than 1000",
        ),
        ({"max_job_secs": 0.5}, {"sleep": 60}, "longer than 0.5 seconds"),
    ],
)
def test_a_job_that_prints_or_takes_too_much_is_ended(run, limit, what, told):
    async def work(jobs):
        job_id = await _submit(jobs, **what)
        await jobs.wait(job_id)
        job = jobs.table.get(job_id)
        assert job.state is State.FAILED and told in job.error

    run(work, **limit)


def test_a_second_server_on_a_state_directory_is_refused(run, tmp_path, app_path):
    async def work(jobs):
        with (
            pytest.raises(_folders.StateDirError, match=r"Another server.*--state=DIR"),
            plain_server.supervised(jobs.state.path, [app_path]),
        ):
            pass

    run(work)


def test_a_warm_worker_does_jobs_one_after_the_other_and_is_ended_by_a_cancel(run):
    async def work(jobs):
        await _until(lambda: jobs.runner.is_warm("tissues", "infer", "auto"))
        ids = [await _submit(jobs, sleep=0.05) for _ in range(2)]
        for job_id in ids:
            await jobs.wait(job_id)
        assert [jobs.table.get(x).devices for x in ids] == ["warm", "warm"]
        slow = await _submit(jobs, sleep=60)
        await _until(lambda: jobs.table.get(slow).state is State.RUNNING)
        await asyncio.sleep(0.1)
        await jobs.cancel(slow)
        after = await _submit(jobs)
        await jobs.wait(after)
        states = [jobs.table.get(x).state for x in (slow, after)]
        assert states == [State.CANCELLED, State.DONE]

    run(work, warm=["tissues"])


def test_apps_that_cannot_be_served_are_told_before_the_start(tmp_path, app_path):
    with pytest.raises(AppError, match="Two apps are called 'tissues'"):
        _served.read_apps([app_path, app_path])
    with pytest.raises(AppError, match="which apps are served"):
        _served.read_apps([])
    with pytest.raises(AppError, match=r"'tisues'.*Did you mean 'tissues'"):
        _served.check_known(["tisues"], _served.read_apps([app_path]), "--warm")
