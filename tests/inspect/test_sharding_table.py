"""What each device holds, against numbers worked out by hand; eight devices."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from kauldron import kd
from kauldron.inspect import _placements
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
    assert lines[11:14] == [
        "opt_state: 516 B, on each device 68 B",
        "",
        "Which device holds which block:",
    ]
    assert lines[-4:] == [
        "the compiler decides: 1 array, 4 B, on each device 4 B",
        "  +-----+",
        "  | 0-7 |",
        "  +-----+",
    ]


def test_picture_in_text_has_the_devices_of_each_block():
    mesh = kd.sharding.Mesh(
        axes={"fsdp": 2, "tensor": 4}, batch_axes=["fsdp", "tensor"]
    )
    kernel = jax.ShapeDtypeStruct(
        (8, 16), jnp.float32, sharding=NamedSharding(mesh.mesh, P("fsdp", "tensor"))
    )
    bias = jax.ShapeDtypeStruct(
        (16,), jnp.float32, sharding=NamedSharding(mesh.mesh, P("tensor"))
    )
    state = kd.sharding.TrainState(step=0, params={"bias": bias, "kernel": kernel})
    found = kd.inspect.sharding_table(state)
    assert [str(p) for p in found.placements] == [
        "split over fsdp x tensor: 1 array, 512 B, on each device 64 B\n"
        "  +---+---+---+---+\n"
        "  | 0 | 1 | 2 | 3 |\n"
        "  +---+---+---+---+\n"
        "  | 4 | 5 | 6 | 7 |\n"
        "  +---+---+---+---+",
        "split over tensor: 1 array, 64 B, on each device 16 B\n"
        "  +-----+-----+-----+-----+\n"
        "  | 0,4 | 1,5 | 2,6 | 3,7 |\n"
        "  +-----+-----+-----+-----+",
    ]
    svg = found.picture().svg
    assert svg.count("<rect") == 1 + 8 + 4  # the ground, and each block
    for text in ("8 devices: fsdp=2, tensor=4", ">3,7<", ">params.kernel<"):
        assert text in svg


@pytest.mark.parametrize(
    ("ids", "text"),
    [
        (range(8), "0-7"),
        ([3], "3"),
        ([0, 4], "0,4"),
        ([0, 5, 6], "0,5,6"),
        (range(0, 4096, 8), "0,8,..,4088"),
    ],
)
def test_many_devices_are_written_shortly(ids, text):
    assert _placements.format_devices(list(ids)) == text


def test_of_many_blocks_those_at_the_ends_are_shown():
    assert _placements.abbreviated(list("abcdef"), 4) == ["a", "b", "...", "f"]


def test_large_array_on_every_device_is_told():
    wide = kd.nn.Sequential(
        inputs="batch.x", outputs="logits", layers=[nn.Dense(1_500_000)]
    )
    whole = table(model=wide)
    assert [a.path for a in whole.large_and_whole()] == ["params.layers_0.kernel"]
    assert "Every device holds all of `params.layers_0.kernel`, 18.0 MB" in str(whole)
    split = table(model=wide, sharding=kd.sharding.Mesh(axes={"fsdp": -1}))
    assert split.large_and_whole() == []
