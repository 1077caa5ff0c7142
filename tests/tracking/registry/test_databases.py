"""Databases that are older, newer, read-only, damaged, or of something else."""

from __future__ import annotations

import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from kauldron import kd
from kauldron.tracking.registry import _database, _migrating, _schema
from tests.tracking.registry import made_runs

_OLDER = pathlib.Path(__file__).with_name("older_file.sql")


def _make_older(path: pathlib.Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.executescript(_OLDER.read_text())
    connection.close()


def test_the_steps_lead_to_the_tables_that_are_used(tmp_path):
    assert _migrating.newest() == _schema.REVISION
    database = _database.Database(str(tmp_path / "registry.db"))
    differences = database.write(
        lambda connection: compare_metadata(
            MigrationContext.configure(connection), _schema.tables().metadata
        )
    )
    assert differences == []


def test_an_older_file_is_upgraded_and_keeps_everything(tmp_path):
    _make_older(tmp_path / "registry.db")
    registry = kd.tracking.Registry.open(tmp_path / "registry.db")
    [run] = registry.runs("eval.accuracy.best > 0.7 and seed == 3 and 'good' in tags")
    assert (run.id, run.name, run.family) == ("run_0007", "a", "nets")
    assert run.metrics["eval.accuracy"].best_step == 50
    [artifact] = registry.artifacts()
    assert (artifact.name, artifact.run, artifact.tags) == ("net", "run_0007", ())
    assert registry.datasets()[0].fingerprint == ""
    run = registry.register(made_runs.make(tmp_path / "b"))
    assert run.id == "run_0008"


def test_an_older_file_that_may_not_be_written_is_said_to_be_older(tmp_path):
    _make_older(tmp_path / "registry.db")
    with pytest.raises(kd.tracking.RegistryError, match="of an older version"):
        kd.tracking.Registry.open(tmp_path / "registry.db", read_only=True)


def test_a_file_of_a_newer_version_is_refused_and_stays_as_it_is(tmp_path):
    _make_older(tmp_path / "registry.db")
    with sqlite3.connect(tmp_path / "registry.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    connection.close()
    before = (tmp_path / "registry.db").read_bytes()
    with pytest.raises(
        kd.tracking.RegistryError, match=r"newer version .*revision 0999"
    ):
        kd.tracking.Registry.open(tmp_path / "registry.db")
    assert (tmp_path / "registry.db").read_bytes() == before


def test_files_that_are_no_registry_are_refused(tmp_path):
    (tmp_path / "text.db").write_text("no database " * 1000)
    with pytest.raises(kd.tracking.RegistryError, match="is not a database"):
        kd.tracking.Registry.open(tmp_path / "text.db")
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()
    with pytest.raises(kd.tracking.RegistryError, match="has tables songs"):
        kd.tracking.Registry.open(tmp_path / "other.db")
    with pytest.raises(kd.tracking.RegistryError, match="is no registry"):
        kd.tracking.Registry.open("mysql://me:secret@host/runs")
    with pytest.raises(kd.tracking.RegistryError, match="is no workspace"):
        kd.tracking.Registry.open(tmp_path)


def test_a_folder_that_is_misspelt_is_not_made(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    workspace = kd.tracking.Workspace.create()
    for place in ("sqlite:////no/such/folder/runs.db", "shared/runs.db"):
        monkeypatch.setenv("KAULDRON_DATABASE", place)
        with pytest.raises(kd.tracking.RegistryError, match="there is no folder '"):
            kd.tracking.Registry.open()
    assert not (tmp_path / "shared").exists()
    monkeypatch.delenv("KAULDRON_DATABASE")
    workspace.folder.rmtree()  # as in a fresh checkout
    assert kd.tracking.Registry.open().runs() == []


def test_a_read_only_registry_is_read_and_nothing_is_changed(tmp_path):
    workdir = made_runs.make(tmp_path / "a", curve=[0.5])
    kd.tracking.Registry.open(tmp_path / "registry.db").register(workdir)
    registry = kd.tracking.Registry.open(tmp_path / "registry.db", read_only=True)
    [run] = registry.runs("eval.accuracy == 0.5")
    for change in (
        lambda: registry.change(run, add_tags=["good"]),
        lambda: registry.remove(run),
        lambda: registry.register(made_runs.make(tmp_path / "b"), name="b"),
        lambda: registry.group_table.create("project", "digits"),
    ):
        with pytest.raises(kd.tracking.RegistryError, match="read-only: nothing was"):
            change()
    assert not (tmp_path / "b" / "tracking.json").exists()
    assert kd.tracking.Registry.open(tmp_path / "registry.db").runs() == [run]


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="another user is needed")
def test_another_user_may_read_a_registry_in_a_folder_that_is_not_theirs():
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        _check_that_another_user_may_read(folder)


def _check_that_another_user_may_read(folder):
    workdir = made_runs.make(folder / "a", curve=[0.5])
    kd.tracking.Registry.open(folder / "registry.db").register(workdir)
    program = (
        "import os\nfrom kauldron import kd\n"
        f"place = {str(folder / 'registry.db')!r}\n"
        "kd.tracking.Registry.open(place).change('a', name='a')\n"  # imports everything
        "os.setuid(65534)\n"
        "registry = kd.tracking.Registry.open(place)\n"
        "[run] = registry.runs('eval.accuracy > 0')\nprint(run.id)\n"
        "try: registry.change(run, name='mine')\n"
        "except kd.tracking.RegistryError as e: print(e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=pathlib.Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.stdout.startswith("run_0001\n"), done.stderr
    assert "is read-only: nothing was changed" in done.stdout
