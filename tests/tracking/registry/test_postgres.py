"""The registry on a server of PostgreSQL."""

from __future__ import annotations

import pytest

from kauldron import kd
from tests.tracking.registry import concurrency, made_runs, postgres_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not postgres_server.is_here(), reason="no PostgreSQL here"),
]


@pytest.fixture(scope="module")
def server():
    with postgres_server.running() as url:
        yield url


def test_it_answers_as_a_file_does(server, tmp_path):
    for i, value in enumerate([0.5, "NaN", 0.9]):
        config = {"optimizer": {"rate": 10.0**-i, "kind": "a\0b"}, "big": 2**70}
        made_runs.make(tmp_path / f"r{i}", config=config, curve=[value, value])
    made_runs.make(tmp_path / "r3", state=None)
    answers = []
    for place in (server, str(tmp_path / "registry.db")):
        registry = kd.tracking.Registry.open(place)
        registry.index(tmp_path)
        registry.change("r1", add_tags=["good"])
        where = (
            "eval.accuracy > 0.4 and optimizer.rate < 0.5",
            "not ('good' in tags) and name ~ 'r[0-2]$'",
            "eval.accuracy == none or status == 'unknown'",
            "big > 1e20 and family == none and started > '2020-01-01'",
        )
        answers.append(
            [
                [run.name for run in registry.runs(x, sort="-eval.accuracy,-id")]
                for x in (None, *where)
            ]
        )
    assert answers[0] == answers[1]
    assert answers[0] == [
        ["r2", "r0", "r1", "r3"],
        ["r2"],
        ["r2", "r0"],
        ["r3"],
        ["r2", "r0", "r1"],
    ]


def test_sixteen_processes_write_at_once_and_some_are_killed(server, tmp_path):
    concurrency.check_that_nothing_is_lost(
        server, tmp_path / "runs", processes=16, runs_each=6, kills=6
    )


def test_a_server_that_is_gone_is_said_without_its_password(tmp_path):
    url = f"postgresql://me:secret@/runs?host={tmp_path}"
    with pytest.raises(kd.tracking.RegistryBusyError) as error:
        kd.tracking.Registry.open(url)
    assert "secret" not in str(error.value)
    assert "cannot be used: connection" in str(error.value)
