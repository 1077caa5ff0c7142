"""The registry on a server of PostgreSQL."""

from __future__ import annotations

import psycopg
import pytest

from kauldron import kd
from tests.tracking.registry import (
    concurrency,
    made_runs,
    postgres_server,
    test_random_filters,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not postgres_server.is_here(), reason="no PostgreSQL here"),
]


@pytest.fixture(scope="module")
def url():
    with postgres_server.running() as url:
        yield url


@pytest.fixture
def server(url, request):
    """URL of a new database."""
    name = f"registry{abs(hash(request.node.name))}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return url.replace("/postgres?", f"/{name}?")


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


def test_filters_that_chance_writes_mean_there_what_they_say(server, tmp_path):
    registry = test_random_filters.filled(tmp_path, server)
    for seed in range(100):
        test_random_filters.check_meaning(registry, seed)


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


def test_a_workspace_on_a_server_is_made_anew_from_its_own_journal(server, tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        workspace = kd.tracking.Workspace.create(tmp_path / name)
        workspace.settings.set("database", server)
        made_runs.make(tmp_path / name / "runs" / name)
        kd.tracking.Registry.open(tmp_path / name).index(tmp_path / name)
    registry = kd.tracking.Registry.open(tmp_path / "two")
    before = [registry.run(name).id for name in ("one", "two")]
    registry.change("two", add_tags=["good"])
    registry.close()
    _drop_everything(server)
    registry = kd.tracking.Registry.open(tmp_path / "two")
    assert (registry.run("two").id, registry.run("two").tags) == (before[1], ("good",))
    registry.index(tmp_path / "one")
    assert registry.run("one").id == before[0]


def _drop_everything(server):
    with psycopg.connect(server) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
