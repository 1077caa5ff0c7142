"""`kauldron run sharding`, `estimate_memory`: tables, JSON, and mistakes; eight devices."""

from __future__ import annotations

import json

from kauldron.cli import run

_CFG = "--cfg=examples/digits_classifier.py"
_PARAMS = 29_066


def test_command_prints_tables_and_draws_a_picture(call, tmp_path):
    out = tmp_path / "devices.svg"
    code, text, err = call(run.sharding, _CFG, "--nocompile", f"--out={out}")
    assert code == 0, err
    assert "params.layers_0.kernel" in text
    assert "whole: 6 arrays, 116.3 kB, on each device 116.3 kB" in text
    assert "params.layers_0.kernel" in out.read_text() and "0-7" in out.read_text()


def test_command_tells_what_devices_send_each_other(call, quick_compile):
    code, text, err = call(run.sharding, _CFG, "--json", "--link_gb_per_s=50")
    assert code == 0, err
    content = json.loads(text)
    assert content["num_devices"] == 8
    by_path = {a["path"]: a for a in content["arrays"]}
    assert by_path["params.layers_6.kernel"]["num_bytes"] == 1024 * 10 * 4
    # Data parallel: the gradient of each parameter is summed over the devices.
    sums = [c for c in content["collectives"] if c["kind"] == "all-reduce"]
    assert sum(c["num_bytes"] * c["num_calls"] for c in sums) >= 4 * _PARAMS
    sent = sum(c["num_bytes_sent"] * c["num_calls"] for c in content["collectives"])
    assert content["link_seconds"] == sum(c["seconds"] for c in content["collectives"])
    assert abs(content["link_seconds"] - sent / 50e9) < 1e-12


def test_command_estimates_the_memory_on_other_devices(call):
    args = (_CFG, "--devices=64", "--nocompile", "--device_gb=1e-4", "--json")
    code, text, err = call(run.estimate_memory, *args)
    assert code == 0, err
    content = json.loads(text)
    assert content["num_devices"] == 64
    assert content["num_bytes"]["params"] == 4 * _PARAMS
    assert content["num_bytes"]["batch"] == 8 * 8 * 4 + 4  # one example on each
    assert content["fits"] is False and "fsdp" in content["advice"][0]


def test_command_without_a_batch_for_each_device_is_a_mistake(call):
    code, _, err = call(run.estimate_memory, _CFG, "--cfg.train_ds.batch_size=12")
    assert code == 2
    assert "split over 8 devices, but has 12 entries" in err


def test_command_with_an_unknown_preset_is_a_mistake(call):
    code, _, err = call(run.estimate_memory, _CFG, "--cfg.sharding=fsdq")
    assert code == 2
    assert "Did you mean 'fsdp'?" in err


def test_command_names_a_rule_that_does_not_fit(call):
    code, _, err = call(
        run.sharding,
        "--cfg=examples/digits_classifier.py",
        "--cfg.sharding=py::kd.sharding.Mesh(axes={'data': -1}, paths={'layer': ()})",
    )
    assert code == 2
    assert "glob 'layer' matches no parameter. Near: ['layers_" in err
