"""What each device holds, against numbers worked out by hand; eight devices."""

from __future__ import annotations

import flax.linen as nn

from kauldron import kd
from tests.train import small_run


def table(**changes):
    model = kd.nn.Sequential(inputs="batch.x", outputs="logits", layers=[nn.Dense(16)])
    trainer = small_run.make_trainer(None, **{"model": model, **changes})
    return kd.inspect.sharding_table(trainer.state_specs)


def test_bytes_of_split_and_whole_arrays():
    found = table(
        sharding=kd.sharding.Mesh(axes={"data": 2, "fsdp": 4}, paths={"**.bias": ()})
    )
    arrays = {a.path: a for a in found.arrays}
    kernel, bias = arrays["params.layers_0.kernel"], arrays["params.layers_0.bias"]
    assert kernel.split == (None, "fsdp")
    assert (kernel.num_bytes, kernel.num_bytes_per_device) == (3 * 16 * 4, 3 * 4 * 4)
    assert (bias.num_bytes, bias.num_bytes_per_device) == (64, 64)
    assert found.mesh == {"data": 2, "fsdp": 4}
    # Adam: two moments of each, and a counter.
    assert found.totals() == {
        "params": (192 + 64, 48 + 64),
        "opt_state": (2 * 256 + 4, 2 * 112 + 4),
    }


def test_table_reads_as_lines_below_each_other():
    lines = str(table(sharding=kd.sharding.Mesh(axes={"fsdp": -1}))).splitlines()
    assert lines[0] == "8 devices: fsdp=8"
    assert lines[3].split() == [
        *("params.layers_0.kernel", "3", "x", "16", "float32", "-,", "fsdp"),
        *("192", "B", "24", "B"),
    ]
    assert lines[-1] == "opt_state: 516 B, on each device 68 B"


def test_large_array_on_every_device_is_told():
    wide = kd.nn.Sequential(
        inputs="batch.x", outputs="logits", layers=[nn.Dense(1_500_000)]
    )
    whole = table(model=wide)
    assert [a.path for a in whole.large_and_whole()] == ["params.layers_0.kernel"]
    assert "Every device holds all of `params.layers_0.kernel`, 18.0 MB" in str(whole)
    split = table(model=wide, sharding=kd.sharding.Mesh(axes={"fsdp": -1}))
    assert split.large_and_whole() == []
