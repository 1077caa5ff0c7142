"""Collectives of programs whose traffic is known, against bytes worked out by hand."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from kauldron.inspect import _collectives, _link_times, _replica_groups

_SIZES = {"data": 4, "tensor": 2}


@pytest.fixture(scope="module")
def mesh():
    types = (AxisType.Auto,) * 2
    return jax.make_mesh(tuple(_SIZES.values()), tuple(_SIZES), axis_types=types)


@pytest.fixture(scope="module")
def by_hand(mesh):
    """One collective of each kind, on f32[8, 64] a device; a gather in a loop of five."""

    def local(x):
        def body(carry, _):
            whole = jax.lax.all_gather(carry, "data", axis=0, tiled=True)  # [32, 64]
            return carry + jnp.sin(whole)[:8], None

        y, _ = jax.lax.scan(body, x, length=5)
        scattered = jax.lax.psum_scatter(
            jnp.cos(y), "data", scatter_dimension=1, tiled=True
        )
        exchanged = jax.lax.all_to_all(jnp.tanh(y), "tensor", 0, 1, tiled=True)
        around = [(i, (i + 1) % 4) for i in range(4)]
        sent = jax.lax.ppermute(jnp.exp(y), "data", around)
        summed = jax.lax.psum(jnp.sin(y), ("data", "tensor"))
        return scattered, exchanged, sent, summed

    specs = (P("data", "tensor"), P("data", "tensor"), P("data", "tensor"), P())
    program = jax.shard_map(
        local, mesh=mesh, in_specs=P("data", "tensor"), out_specs=specs, check_vma=False
    )
    whole = NamedSharding(mesh, P("data", "tensor"))
    x = jax.ShapeDtypeStruct((32, 128), jnp.float32, sharding=whole)
    text = jax.jit(program).lower(x).compile().as_text()
    return {c.kind: c for c in _collectives.read(text, _SIZES)}


# Of f32[8, 64]: 2048 bytes on a device.
@pytest.mark.parametrize(
    ("kind", "num_bytes", "axes", "num_calls", "sent"),
    [
        ("all-gather", 4 * 2048, ("data",), 5, 3 / 4 * 8192),
        ("reduce-scatter", 2048, ("data",), 1, 3 / 4 * 2048),
        ("all-to-all", 2048, ("tensor",), 1, 1 / 2 * 2048),
        ("collective-permute", 2048, ("data",), 1, 2048),
        ("all-reduce", 2048, ("data", "tensor"), 1, 2 * 7 / 8 * 2048),
    ],
)
def test_bytes_axes_and_calls_of_each_kind(
    by_hand, kind, num_bytes, axes, num_calls, sent
):
    found = by_hand[kind]
    assert (found.num_bytes, found.mesh_axes, found.num_calls) == (
        num_bytes,
        axes,
        num_calls,
    )
    assert found.is_count_known
    assert found.num_bytes_sent == sent


def test_fsdp_matmul_gathers_the_weights_once(mesh):
    def placed(shape, *spec):
        sharding = NamedSharding(mesh, P(*spec))
        return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=sharding)

    def matmul(x, w):
        w = jax.lax.with_sharding_constraint(w, NamedSharding(mesh, P()))
        return x @ w

    x, w = placed((16, 32), "data"), placed((32, 48), "data")
    text = jax.jit(matmul).lower(x, w).compile().as_text()
    (found,) = _collectives.read(text, _SIZES)
    assert (found.kind, found.num_bytes) == ("all-gather", 32 * 48 * 4)
    assert (found.arrays, found.mesh_axes) == (("f32[32,48]",), ("data",))


_ASYNC = """
HloModule m

%body.1 (p.1: (s32[], bf16[4,8])) -> (s32[], bf16[4,8]) {
  %all-reduce.1 = bf16[4,8]{1,0} all-reduce(%x), replica_groups=[4,2]<=[8], to_apply=%add
}

ENTRY %main (p: bf16[4,8]) -> bf16[4,8] {
  %while.1 = (s32[], bf16[4,8]{1,0}) while(%t), condition=%cond.1, body=%body.1
  %all-gather-start.1 = (bf16[4,8]{1,0}, bf16[32,8]{1,0}) all-gather-start(%p), \
replica_groups={{0,1,2,3,4,5,6,7}}, dimensions={0}
  %all-gather-done.1 = bf16[32,8]{1,0} all-gather-done(%all-gather-start.1)
  %all-reduce.2 = s4[3]{0} all-reduce(%z), replica_groups={{0},{1}}, to_apply=%add
}
"""


def test_halves_count_once_and_loops_of_unknown_length_are_told():
    gather, reduce = _collectives.read(_ASYNC, _SIZES)
    assert (gather.kind, gather.num_bytes, gather.num_calls) == (
        "all-gather",
        32 * 8 * 2,
        1,
    )
    assert gather.is_count_known
    assert (reduce.kind, reduce.mesh_axes) == ("all-reduce", ("tensor",))
    assert not reduce.is_count_known


@pytest.mark.parametrize(
    ("text", "groups"),
    [
        ("replica_groups={{0,2},{1,3}}", [(0, 2), (1, 3)]),
        ("replica_groups={}", [tuple(range(8))]),
        ("replica_groups=[2,4]<=[8]", [(0, 1, 2, 3), (4, 5, 6, 7)]),
        ("replica_groups=[2,4]<=[4,2]T(1,0)", [(0, 2, 4, 6), (1, 3, 5, 7)]),
        ("replica_groups=mesh['a'=4,'b'=2] {'b'}", [(0, 1), (2, 3), (4, 5), (6, 7)]),
        ("replica_groups=mesh['a'=4,'b'=2] {'a'}", [(0, 2, 4, 6), (1, 3, 5, 7)]),
        (
            "replica_groups=mesh['a'=8] {'a':(2)2}",
            [(0, 2), (1, 3), (4, 6), (5, 7)],
        ),
        ("source_target_pairs={{0,1},{1,0}}", [(0, 1), (1, 0)]),
    ],
)
def test_every_spelling_of_groups_is_read(text, groups):
    assert _replica_groups.read(f"{text}, dimensions={{0}}", 8) == groups


def test_time_is_that_of_the_slowest_link_on_the_way(by_hand):
    speeds = _link_times.parse("data=2,tensor=1e-3", _SIZES)
    gather, reduce = by_hand["all-gather"], by_hand["all-reduce"]
    assert math.isclose(_link_times.seconds(gather, speeds), 5 * 6144 / 2e9)
    assert math.isclose(_link_times.seconds(reduce, speeds), 3584 / 1e6)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fast", "'fast' is no speed in GB/s"),
        ("0", "is no speed"),
        ("date=5", "there are ['data', 'tensor']. Did you mean 'data'?"),
        ("data=5", "has no speed for ['tensor']"),
    ],
)
def test_a_speed_that_is_none_is_told(text, words):
    with pytest.raises(ValueError, match="link_gb_per_s") as error:
        _link_times.parse(text, _SIZES)
    assert words in str(error.value)
