"""Projects, families, experiments, datasets and artifacts: made, promoted, removed."""

from __future__ import annotations

import hashlib

import pytest

from kauldron import kd
from tests.tracking.registry import made_runs


@pytest.fixture
def registry(tmp_path):
    return kd.tracking.Registry.open(tmp_path / "registry.db")


def _reopened(registry, tmp_path):
    """Returns the registry, made anew after its database was deleted."""
    registry.close()
    for path in tmp_path.glob("registry.db*"):
        path.unlink()
    return kd.tracking.Registry.open(tmp_path / "registry.db")


def _all(registry):
    return (
        registry.projects(),
        registry.families(),
        registry.experiments(),
        registry.datasets(),
        registry.artifacts(),
    )


def test_everything_that_was_typed_outlives_the_database(registry, tmp_path):
    run = registry.register(made_runs.make(tmp_path / "a"), project="other")
    (tmp_path / "data.bin").write_bytes(b"abc")
    groups = registry.group_table
    assert groups.create("project", "digits", description="Handwritten.")
    assert not groups.create("project", "digits")
    groups.create("family", "nets", project="digits")
    groups.create("experiment", "wide", project="digits", family="nets")
    groups.create("project", "gone")
    groups.remove("project", "gone")
    registry.dataset_table.create("d", str(tmp_path / "data.bin"), "Three bytes.")
    for _ in range(2):
        registry.artifact_table.create(
            "net", str(tmp_path / "a"), run=run, tags=["small"]
        )
    registry.artifact_table.promote("net@1", "production")
    before = _all(registry)
    assert [p.name for p in before[0]] == ["digits", "other"]
    assert before[0][0].description == "Handwritten."
    assert before[2][0].family == "nets"
    again = _reopened(registry, tmp_path)
    after = _all(again)
    # Groups that a run has made by itself are as old as the database.
    assert [x.name for x in after[0]] == ["digits", "other"]
    assert after[0][0] == before[0][0]
    assert after[1:2] + after[3:] == before[1:2] + before[3:]
    assert [(x.name, x.num_runs) for x in after[2]] == [("wide", 0), (tmp_path.name, 1)]


def test_a_group_with_runs_is_removed_only_with_them(registry, tmp_path):
    for name in ("a", "b"):
        registry.register(
            made_runs.make(tmp_path / name), project="p", family="f", experiment=name
        )
    groups = registry.group_table
    with pytest.raises(kd.tracking.RegistryError, match=r"has 2 runs\. With"):
        groups.remove("family", "f")
    assert groups.remove("experiment", "a", with_runs=True) == 1
    assert [run.name for run in registry.runs()] == ["b"]
    assert groups.remove("project", "p", with_runs=True) == 1
    assert _all(registry)[:3] == ([], [], [])
    assert registry.runs() == [] and (tmp_path / "b" / "config.json").exists()
    # They are not in the way of new ones, and their numbers are not given again.
    assert registry.register(made_runs.make(tmp_path / "c")).id == "run_0003"


def test_names_that_nothing_has_or_may_have_are_refused(registry):
    groups = registry.group_table
    groups.create("project", "digits")
    groups.create("experiment", "wide", project="digits")
    groups.create("experiment", "wide", project="letters")
    with pytest.raises(kd.tracking.RegistryError, match=r"Did you mean 'digits'\?"):
        groups.find("project", "digts")
    with pytest.raises(kd.tracking.RegistryError, match="Several projects have"):
        groups.find("experiment", "wide")
    assert groups.find("experiment", "wide", "letters").project == "letters"
    for name in ("", " a", "a/b", "a@1", "a\n", "x" * 201):
        with pytest.raises(kd.tracking.RegistryError, match="The name of a project"):
            groups.create("project", name)
    with pytest.raises(
        kd.tracking.RegistryError, match=r"no artifact .net.\. There is n"
    ):
        registry.artifact_table.find("net")


def test_the_fingerprint_of_a_folder_is_of_names_and_contents(registry, tmp_path):
    folder = tmp_path / "data"
    (folder / "b").mkdir(parents=True)
    (folder / "a.txt").write_bytes(b"1")
    (folder / "b" / "c.txt").write_bytes(b"2")
    table = registry.dataset_table
    dataset = table.create("d", str(folder))
    digests = [hashlib.sha256(x).hexdigest() for x in (b"1", b"2")]
    listed = f"{digests[0]} a.txt\n{digests[1]} b/c.txt\n".encode()
    assert dataset.fingerprint == f"sha256:{hashlib.sha256(listed).hexdigest()}"
    assert table.state(dataset) == "same"
    (folder / "a.txt").rename(folder / "z.txt")
    assert table.state(dataset) == "changed"
    again = table.create("d", str(folder), "renamed")
    assert table.state(again) == "same" and registry.datasets() == [again]
    with pytest.raises(kd.tracking.RegistryError, match="choose another name"):
        table.create("d", str(tmp_path))
    with pytest.raises(kd.tracking.RegistryError, match="cannot be read: No such file"):
        table.create("e", str(tmp_path / "nothing"))
    assert table.state(table.create("u", "s3://bucket/x")) == "unknown"


def test_one_version_at_most_is_in_production(registry, tmp_path):
    table = registry.artifact_table
    for _ in range(3):
        table.create("net", str(tmp_path))
    assert table.promote("net@1")[0].stage == "staging"
    assert table.promote("net@1")[0].stage == "production"
    promoted, archived = table.promote("net", "production")
    assert (promoted.version, [x.version for x in archived]) == (3, [1])
    assert [x.stage for x in table.list()] == ["archived", "draft", "production"]
    assert table.find("net").version == 3
    with pytest.raises(kd.tracking.RegistryError, match="which is the last stage"):
        table.promote("net@1")
    with pytest.raises(kd.tracking.RegistryError, match=r"Did you mean 'staging'\?"):
        table.promote("net@2", "stagin")
    table.remove("net@3")
    assert table.create("net", str(tmp_path)).version == 4
    with pytest.raises(kd.tracking.RegistryError, match="Say which version: net@1"):
        table.remove("net")
