"""`record`: what was written, and every default that takes effect."""

import json

import konfig_targets
import pytest

from kauldron import konfig

with konfig.imports():
    import fractions
    import functools
    import textwrap

    import konfig_targets as targets


def test_defaults_that_were_left_out_are_filled_in_and_given_values_kept():
    cfg = konfig.ConfigDict(
        {"wrapper": textwrap.TextWrapper(width=60), "half": fractions.Fraction(1, 2)}
    )
    recorded = konfig.record(cfg)
    assert recorded["wrapper"]["width"] == 60
    assert recorded["wrapper"]["tabsize"] == 8  # the default of the standard library
    # Given by position: not given again by name.
    assert recorded["half"] == {
        "__qualname__": "fractions:Fraction",
        "0": 1,
        "1": 2,
    }


def test_references_are_values_and_shared_nodes_stand_once():
    cfg = konfig.ConfigDict({"n": 7, "double": None})
    cfg.double = cfg.ref.n * 2
    cfg.a = fractions.Fraction(3)
    cfg.b = cfg.a
    recorded = konfig.record(cfg)
    assert recorded["double"] == 14
    assert recorded["a"]["__id__"] == recorded["b"]["__id__"]
    assert recorded["b"] == {"__id__": recorded["a"]["__id__"]}


def test_factories_of_dataclasses_are_called_and_what_is_no_data_is_text():
    recorded = konfig.record(konfig.ConfigDict({"x": targets.WithDefaults()})["x"])
    assert recorded["items"] == [1, 2]
    assert recorded["made"] == {
        "__qualname__": f"{konfig_targets.__name__}:Leaf",
        "size": 3,
    }
    assert recorded["opaque"] == "<konfig_targets.Opaque object>"  # without an address
    assert recorded["function"] == {"__const__": "textwrap:dedent"}
    assert recorded["empty"] == {}
    assert "_private" not in recorded


def test_a_record_is_json_and_the_config_stays_as_it_was():
    cfg = konfig.ConfigDict({"f": functools.partial(textwrap.indent, prefix="> ")})
    before = cfg.to_json()
    json.dumps(konfig.record(cfg))
    assert cfg.to_json() == before


def test_what_cannot_be_imported_is_named():
    cfg = konfig.ConfigDict({"x": {"__qualname__": "textwrap:TextWraper"}})
    with pytest.raises(konfig.ConfigImportError, match="TextWraper"):
        konfig.record(cfg)


def test_what_is_never_resolved_is_kept_as_it_is_written():
    # A launch description may name what is installed elsewhere only.
    job = {"__qualname__": "not_installed_here:Job", "priority": 1}
    cfg = konfig.ConfigDict({"run": targets.Launched(job=job)})
    assert konfig.record(cfg)["run"] == {
        "__qualname__": "konfig_targets:Launched",
        "job": job,
        "seed": 0,
    }
