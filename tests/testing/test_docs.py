"""The examples of the contracts run, with the parts that they name."""

from __future__ import annotations

import pytest

from tests import docs_snippets

_DOCSTRINGS = docs_snippets.docstrings_with_code("kauldron.testing")


def test_each_contract_has_an_example():
    shown = {name.rsplit(".", 1)[-1] for name in _DOCSTRINGS}
    assert {
        *("check_metric", "check_model", "check_transform", "check_source"),
        *("check_pipeline", "check_config", "check_evaluator", "check_hook"),
        *("check_init_transform", "check_checkpointer", "check_writer"),
        "assert_step_specs",
    } <= shown


@pytest.mark.slow
@pytest.mark.parametrize("name", _DOCSTRINGS)
def test_example_of_a_contract_runs(name, tmp_path):
    assert docs_snippets.run_docstring(name, _DOCSTRINGS[name], tmp_path) >= 1
