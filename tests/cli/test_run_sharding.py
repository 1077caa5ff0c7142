"""`kauldron run sharding`: a table, JSON, and mistakes; eight devices."""

from __future__ import annotations

import json

from kauldron.cli import run


def test_command_prints_a_table_or_json(call):
    cfg = "--cfg=examples/digits_classifier.py"
    code, out, err = call(run.sharding, cfg)
    assert code == 0, err
    assert "params.layers_0.kernel" in out
    code, out, err = call(run.sharding, cfg, "--json")
    assert code == 0, err
    content = json.loads(out)
    assert content["num_devices"] == 8
    by_path = {a["path"]: a for a in content["arrays"]}
    assert by_path["params.layers_6.kernel"]["num_bytes"] == 1024 * 10 * 4


def test_command_names_a_rule_that_does_not_fit(call):
    code, _, err = call(
        run.sharding,
        "--cfg=examples/digits_classifier.py",
        "--cfg.sharding=py::kd.sharding.Mesh(axes={'data': -1}, paths={'layer': ()})",
    )
    assert code == 2
    assert "glob 'layer' matches no parameter. Near: ['layers_" in err
