"""`Local`: processes of this machine."""

from __future__ import annotations

import pytest

from kauldron.launch import _local
from tests.launch import backend_contract


class TestLocal(backend_contract.BackendContract):
    @pytest.fixture
    def make_backend(self):
        return lambda: _local.Local(parallel=2)
