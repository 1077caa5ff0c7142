"""Settings: one contract for all that keep them; the file, then the environment."""

from __future__ import annotations

import pytest

from kauldron import kd


@pytest.fixture(params=["file", "memory"])
def settings(request, tmp_path):
    if request.param == "memory":
        return kd.tracking.MemorySettings()
    return kd.tracking.FileSettings(tmp_path / "kauldron.yaml", environ={})


def test_a_setting_is_its_default_until_it_is_set(settings):
    assert isinstance(settings, object)
    assert (settings.get("project"), settings.source("project")) == (
        "default",
        "default",
    )
    settings.set("project", "digits")
    assert (
        settings.get("project") == "digits" and settings.source("project") != "default"
    )
    settings.set("project", None)
    assert (settings.get("project"), settings.source("project")) == (
        "default",
        "default",
    )


@pytest.mark.parametrize("value", [True, False, 0, 7, 0.5, "", "a: b", "true", "1e-3"])
def test_a_value_comes_back_as_it_was_set(settings, value):
    settings.set("mlflow.uri", value)
    found = settings.get("mlflow.uri")
    assert (found, type(found)) == (value, type(value))


def test_settings_of_ones_own_are_kept_too(settings):
    settings.set("team.mail", "me@here")
    assert settings.get("team.mail") == "me@here"
    assert {"database", "team.mail"} <= set(settings.names())
    assert settings.get("team.phone", "none") == "none"


def test_names_that_do_not_exist_and_values_of_other_types_are_refused(settings):
    with pytest.raises(kd.tracking.SettingsError, match=r"Did you mean 'project'\?"):
        settings.get("projekt")
    with pytest.raises(kd.tracking.SettingsError, match="is no name of a setting"):
        settings.set("a b", 1)
    with pytest.raises(kd.tracking.SettingsError, match="a number, a text or a flag"):
        settings.set("project", ["a"])


def test_the_file_goes_before_the_environment_before_the_default(tmp_path):
    environ = {"KAULDRON_PROJECT": "mine", "KAULDRON_MLFLOW_URI": "http://a"}
    environ["KAULDRON_TEAM_SIZE"] = "3"
    settings = kd.tracking.FileSettings(tmp_path / "kauldron.yaml", environ)
    assert (settings.get("project"), settings.source("project")) == (
        "mine",
        "environment",
    )
    assert settings.get("team.size") == 3
    (tmp_path / "kauldron.yaml").write_text("project: ours\nmlflow: {uri: http://b}\n")
    assert (settings.get("project"), settings.source("project")) == ("ours", "file")
    assert settings.get("mlflow.uri") == "http://b"
    settings.set("redis.url", "redis://c")
    text = (tmp_path / "kauldron.yaml").read_text()
    assert text == "project: ours\nmlflow:\n  uri: http://b\nredis:\n  url: redis://c\n"


def test_a_file_that_is_no_list_of_names_is_named(tmp_path):
    settings = kd.tracking.FileSettings(tmp_path / "kauldron.yaml", environ={})
    (tmp_path / "kauldron.yaml").write_text("a: [")
    with pytest.raises(kd.tracking.SettingsError, match=r"kauldron.yaml' is no YAML"):
        settings.get("project")
    (tmp_path / "kauldron.yaml").write_text("- a\n")
    with pytest.raises(kd.tracking.SettingsError, match="it is a list"):
        settings.get("project")


def test_typos_and_values_of_other_types_in_the_file_are_told(tmp_path, capsys):
    text = "projct: x\nexperiment: [a]\nmlflow: {url: http://b}\nteam: {size: 3}\n"
    kd.tracking.Workspace.create(tmp_path)
    (tmp_path / "kauldron.yaml").write_text(text)
    kd.tracking.Registry.open(tmp_path)
    projct, experiment, url = capsys.readouterr().err.splitlines()
    assert "there is no setting `projct`. Did you mean 'project'?" in projct
    assert "`experiment` is a number, a text or a flag: got ['a']." in experiment
    assert "`mlflow.url`. Did you mean 'mlflow.uri'?" in url
