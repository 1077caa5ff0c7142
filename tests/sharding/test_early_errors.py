"""What does not fit a mesh is told before compiling, with sizes that would work."""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from examples import digits_classifier
from kauldron import kd, konfig
from tests.train import small_run


def decoder_trainer(num_tokens=8, *, sharding, **changes):
    row = {"tokens": np.zeros(num_tokens, np.int32), "label": np.zeros(1, np.int32)}
    block = kd.nn.DecoderBlock(
        attention=kd.nn.GQAttention(num_heads=2), feed_forward=kd.nn.FeedForward(8)
    )
    kwargs = {"vocab_size": 8, "features": 8, "num_layers": 4, "blocks": [block]}
    return small_run.make_trainer(
        None,
        model=kd.nn.CausalLM(tokens="batch.tokens", **{**kwargs, **changes}),
        train_ds=kd.data.py.DataSource([row] * 16, batch_size=16, shuffle=False),
        sharding=sharding,
    )


@pytest.mark.parametrize(
    ("options", "sharding", "words"),
    [
        (
            {"num_tokens": 6},
            "sequence=4",
            r"An activation has shape \(16, 6, 8\): axis 'sequence' has 6 entries, which "
            r"do not divide over the 4 devices of 'sequence'. Use a mesh axis of 2 or 3",
        ),
        (
            {},
            "stage=4",
            r"axis 'stage' of 4 devices splits no parameter .*`scan_layers=True` of",
        ),
        (
            {"scan_layers": True, "num_layers": 6},
            "stage=4",
            r"axis 'layers' has 6 entries, which do not divide over the 4 devices of "
            r"'stage'. Use a mesh axis of 2 or 3 devices",
        ),
    ],
    ids=["tokens", "no scan", "layers"],
)
def test_activations_and_layers_that_do_not_divide(options, sharding, words):
    trainer = decoder_trainer(sharding=sharding, **options)
    with pytest.raises(kd.sharding.MeshError, match=words):
        _ = trainer.state_specs


def test_batch_that_does_not_split_into_the_parts_of_a_pipeline():
    mesh = kd.sharding.Mesh(axes={"data": 4, "stage": 2}, num_microbatches=3)
    rows = {"x": jax.ShapeDtypeStruct((16, 3), jnp.float32)}
    words = (
        r"16 examples does not split into the 3 micro-batches of "
        r"`cfg.sharding.num_microbatches`, each over 4 devices. Use "
        r"`batch_size=12 or 24`"
    )
    with pytest.raises(kd.sharding.BatchSizeError, match=words):
        mesh.check_batch(rows)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"rules": {"batch": "data"}}, r"`batch_axes=\('data',\)`"),
        ({"num_microbatches": 4}, "the mesh .* has no axis `stage`"),
        ({"axes": {"stage": 8}, "num_microbatches": 0}, "must be >= 1, or None: got 0"),
        ({"min_size_to_shard_mb": float("nan")}, "a size in MiB, >= 0: got nan"),
        ({"min_size_to_shard_mb": -1}, "a size in MiB, >= 0: got -1"),
    ],
)
def test_mesh_that_cannot_be_is_refused_at_once(kwargs, words):
    with pytest.raises(kd.sharding.MeshError, match=words):
        kd.sharding.Mesh(**kwargs)


def test_size_that_is_none_is_refused_by_fsdp_too():
    with pytest.raises(kd.sharding.MeshError, match="a size in MiB, >= 0: got nan"):
        kd.sharding.FSDPSharding(min_size_to_shard_mb=float("nan"))


def test_message_begins_with_the_field_and_not_with_the_whole_config():
    cfg = digits_classifier.get_config()
    cfg.sharding = "fdsp"
    with pytest.raises(ValueError, match=r"`sharding='fdsp'` names the mesh ax") as e:
        konfig.resolve(cfg)
    assert "num_train_steps" not in str(e.value)


def test_check_of_a_run_names_the_field():
    trainer = small_run.make_trainer(None, sharding="tensor=2")
    with pytest.raises(ValueError, match=r"cfg\.sharding: The mesh axis 'tensor' of 2"):
        trainer.check()


def large(shape=(4096, 2048), dtype=jnp.float32):
    whole = kd.sharding.Mesh(axes={"data": 2, "tensor": 4}).replicated
    return jax.ShapeDtypeStruct(shape, dtype, sharding=whole)


def remarks(arrays, **kwargs):
    mesh = kd.sharding.Mesh(**{"axes": {"data": 2, "tensor": 4}, **kwargs})
    return mesh.remarks(kd.sharding.TrainState(step=0, params=arrays))


def test_large_array_that_could_be_split_is_told_with_its_size():
    (remark,) = remarks({"dense": {"kernel": large(), "bias": large((2048,))}})
    assert "all of `params.dense.kernel`, 33.6 MB, although axis 0 of (4096," in remark
    assert "`cfg.sharding.paths = {'dense.kernel': ('tensor',)}` splits it" in remark


def test_array_that_cannot_be_split_or_that_the_user_decided_on_is_not_told():
    assert not remarks({"w": large((4099, 2049))})
    assert not remarks({"w": large()}, paths={"w": ()})
    assert not remarks({"w": large()}, axes={"data": 8})
    assert not remarks({"w": large()}, params=kd.sharding.REPLICATED)


class _WithOthers(nn.Module):
    """Keeps a frozen kernel, an average of it, and a statistic."""

    x: kd.kontext.Key = "batch.x"

    @nn.compact
    def __call__(self, x):
        init = kd.nn.with_logical_axes(nn.initializers.lecun_normal(), ("embed", "mlp"))
        up = nn.Dense(16, kernel_init=init, use_bias=False, name="up")
        self.variable("ema", "average", lambda: {"up": {"kernel": jnp.ones((3, 16))}})
        self.variable("statistics", "mean", jnp.zeros, (16,))
        return {"logits": nn.Dense(2, use_bias=False, name="head")(up(x))}


def test_collections_are_split_as_the_parameters_they_belong_to():
    def specs(**kwargs):
        trainer = small_run.make_trainer(
            None, model=_WithOthers(), sharding=kd.sharding.Mesh(**kwargs)
        )
        found = jax.tree.map(lambda x: x.sharding.spec, trainer.state_specs.collections)
        return found["ema"]["average"]["up"]["kernel"], found["statistics"]["mean"]

    axes = {"data": 2, "tensor": 4}
    assert specs(axes=axes) == (P(None, "tensor"), P())
    by_path = {"statistics.*": ("tensor",)}
    assert specs(axes=axes, paths=by_path) == (P(None, "tensor"), P("tensor"))
    assert specs(axes={"fsdp": 8}) == (P(None, "fsdp"), P("fsdp"))


def test_published_parts_are_mixed_in():
    mesh = kd.sharding.Mesh(
        axes={"data": 2, "fsdp": 4},
        params={"up": kd.sharding.FSDPSharding(min_size_to_shard_mb=0), "head": None},
        collections=kd.sharding.REPLICATED,
    )
    specs = small_run.make_trainer(None, model=_WithOthers(), sharding=mesh).state_specs
    kernel = specs.params["up"]["kernel"]
    assert kernel.sharding.spec == P(None, "devices")
    assert specs.params["head"]["kernel"].sharding is None
    assert specs.collections["statistics"]["mean"].sharding == kd.sharding.REPLICATED
    # What belongs to the kernel in the state of the optimizer is beside it.
    assert specs.opt_state[0].mu["up"]["kernel"].sharding == kernel.sharding
    assert mesh.batch.spec == P(("data", "fsdp"))


def test_meshes_are_compared_by_what_was_said():
    axes = {"data": 2, "fsdp": 4}
    assert kd.sharding.Mesh(axes=axes) == kd.sharding.Mesh(axes=dict(axes))
    assert kd.sharding.Mesh(axes=axes) != kd.sharding.Mesh(axes=axes, rules={"a": None})
