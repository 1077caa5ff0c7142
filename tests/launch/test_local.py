"""`Local`: processes of this machine."""

from __future__ import annotations

import pytest

from kauldron.launch import _local
from tests.launch import backend_contract


class TestLocal(backend_contract.BackendContract):
    @pytest.fixture(scope="class")
    @classmethod
    def make_backend(cls):
        return lambda: _local.Local(parallel=2)
