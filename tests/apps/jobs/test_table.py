"""The table of jobs: states that are for good are set once, and outlive the process."""

from __future__ import annotations

import itertools
import threading

import pytest

from kauldron.apps.jobs import _table
from kauldron.apps.jobs._table import Job, State

_LAST = (State.DONE, State.FAILED, State.CANCELLED)


@pytest.fixture
def table(tmp_path):
    table = _table.JobTable(tmp_path / "jobs.sqlite")
    yield table
    table.close()


def _add(table, number=1, max_active=100):
    job = Job(id=f"{number:012x}", app="a", verb="infer", call={"verb": "infer"})
    return table.add(job, max_active=max_active)


def test_a_job_is_read_as_it_was_written_also_by_the_next_server(tmp_path, table):
    job = _add(table)
    table.start(job.id, "cpu")
    table.close()
    again = _table.JobTable(tmp_path / "jobs.sqlite")
    found = again.get(job.id)
    assert (found.state, found.devices, found.num_runs) == (State.RUNNING, "cpu", 1)
    assert (found.app, found.call, found.created) == (
        "a",
        {"verb": "infer"},
        job.created,
    )
    again.close()


@pytest.mark.parametrize("first, second", list(itertools.permutations(_LAST, 2)))
def test_the_last_state_is_set_once(table, first, second):
    job = _add(table)
    table.start(job.id, "cpu")
    assert table.finish(job.id, first, "why")
    assert not table.finish(job.id, second, "other")
    assert not table.start(job.id, "cpu")
    assert not table.interrupt(job.id) and not table.run_again(job.id)
    found = table.get(job.id)
    assert (found.state, found.error) == (first, "why")


def test_of_many_that_end_a_job_at_once_one_does(tmp_path):
    table = _table.JobTable(tmp_path / "jobs.sqlite")
    job, won = _add(table), []
    states = [State.DONE, State.FAILED, State.CANCELLED] * 4

    def finish(state):
        if table.finish(job.id, state):
            won.append(state)

    threads = [threading.Thread(target=finish, args=(state,)) for state in states]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert won == [table.get(job.id).state]
    table.close()


def test_a_full_queue_takes_nothing_until_a_job_has_ended(table):
    _add(table, 1, 2), _add(table, 2, 2)
    with pytest.raises(_table.QueueFullError):
        _add(table, 3, 2)
    assert table.get(f"{3:012x}") is None
    table.finish(f"{1:012x}", State.CANCELLED)
    assert _add(table, 3, 2).state is State.QUEUED
    assert table.num_active() == 2


def test_only_interrupted_jobs_run_again(table):
    job = _add(table)
    assert not table.run_again(job.id)
    table.start(job.id, "0")
    assert not table.run_again(job.id)
    assert table.interrupt(job.id) and table.run_again(job.id)
    assert table.get(job.id).state is State.QUEUED
    table.start(job.id, "1")
    assert table.get(job.id).num_runs == 2


def test_only_jobs_that_ended_are_forgotten(table):
    job = _add(table)
    assert not table.forget(job.id)
    table.finish(job.id, State.DONE)
    assert table.forget(job.id) and table.get(job.id) is None


def test_a_file_that_is_no_table_is_told_and_kept(tmp_path):
    path = tmp_path / "jobs.sqlite"
    path.write_bytes(b"my notes, which are not a database" * 100)
    with pytest.raises(_table.TableError, match=r"is no table of jobs.*--state=DIR"):
        _table.JobTable(path)
    assert path.read_bytes().startswith(b"my notes")
