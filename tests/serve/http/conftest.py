"""One server on a loopback port for a module, over an engine that each test tells what to say."""

from __future__ import annotations

import asyncio

import pytest

from kauldron import kd
from tests.serve.http import scripted_engine

_ENGINE = scripted_engine.ScriptedEngine()


@pytest.fixture
def engine():
    """The engine behind `url`, as new."""
    vars(_ENGINE).update(vars(scripted_engine.ScriptedEngine()))
    return _ENGINE


@pytest.fixture(scope="module")
def url():
    """Address of the server."""
    app = kd.serve.make_app(_ENGINE, max_body_bytes=100_000)
    with kd.serve.background_server(app) as url:
        yield url


@pytest.fixture(scope="module")
def runner():
    """Runs coroutines, all in one loop: async clients belong to theirs."""
    with asyncio.Runner() as runner:
        yield runner.run
