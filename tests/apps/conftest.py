"""A plain app and files that say what happens to them."""

from __future__ import annotations

import json

import pytest

from tests.apps.bundles import made


@pytest.fixture(scope="session")
def app_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("apps") / "tissues"
    made.write(path)
    return path


@pytest.fixture
def told(tmp_path):
    """Writes a file that tells the plain verb what to do; returns its path."""

    def write(name="scan.nii.gz", **what):
        path = tmp_path / name
        path.write_text(json.dumps(what))
        return path

    return write
