"""Makes `fixture/published.npz`: numbers of the published package's transformers.

Run in an environment of its own, with `pip install kauldron==1.4.4` (Python 3.12):

    python make_fixture.py

For each case: the parameters (random, none left at zero or one), the inputs, the output.
`init.*` are parameters as the package initialises them from `jax.random.key(0)`.
"""

import pathlib

import jax
import numpy as np

from kauldron import kd

_RNG = np.random.default_rng(0)
_IMAGE = _RNG.normal(size=(2, 8, 4, 3)).astype("float32")
_TOKENS = _RNG.normal(size=(2, 5, 8)).astype("float32")
_OTHERS = _RNG.normal(size=(2, 3, 8)).astype("float32")
_BIAS = _RNG.normal(size=(2, 2, 5, 3)).astype("float32")
_MASK = _RNG.random((2, 1, 5, 3)) < 0.6
_MASK[..., 0] = True  # the package means over rows that see nothing


def _vit(**kwargs):
    return kd.nn.VitEncoder.from_spec(
        num_heads=2, hidden_size=8, num_layers=2, patch_size=4, **kwargs
    )


def _cases():
    attention = kd.nn.ImprovedMultiHeadDotProductAttention
    yield (
        "attention",
        attention(
            num_heads=2, normalize_qk=True, qk_features=4, v_features=6, out_features=3
        ),
        (_TOKENS, _OTHERS),
        {"bias": _BIAS, "mask": _MASK},
    )
    yield "slots", attention(num_heads=2, softmax_axis=(-3, -2)), (_TOKENS, _OTHERS), {}
    for block in ("PreNormBlock", "PostNormBlock", "ParallelAttentionBlock"):
        yield block, getattr(kd.nn, block).from_spec(num_heads=2), (_TOKENS,), {}
    yield (
        "vit",
        kd.nn.Vit(
            encoder=_vit(prepend_cls_token=True),
            num_classes=3,
            mode="cls_token",
            image="batch.image",
        ),
        (_IMAGE,),
        {},
    )
    yield (
        "gap",
        kd.nn.Vit(encoder=_vit(), num_classes=3, image="batch.image"),
        (_IMAGE,),
        {},
    )
    yield (
        "autoencoder",
        kd.nn.VitAutoEncoder(
            encoder=_vit(block_type=kd.nn.ParallelAttentionBlock), image="batch.image"
        ),
        (_IMAGE,),
        {},
    )
    yield (
        "fourier",
        kd.nn.AddEmbedding(kd.nn.FourierEmbedding(num_fourier_bases=3), axis=(-3, -2)),
        (_IMAGE,),
        {},
    )


def _flat(prefix, tree):
    return {
        f"{prefix}.{jax.tree_util.keystr(path, simple=True, separator='.')}": np.asarray(
            x
        )
        for path, x in jax.tree_util.tree_leaves_with_path(tree)
    }


def main():
    arrays = {}
    for name, model, args, kwargs in _cases():
        variables = model.init(jax.random.key(0), *args, **kwargs)
        if name == "vit":
            arrays |= _flat("init", variables["params"])
        params = jax.tree.map(
            lambda x: x + 0.3 * _RNG.normal(size=x.shape).astype("float32"),
            variables["params"],
        )
        output = model.apply({"params": params}, *args, **kwargs)
        arrays |= _flat(f"{name}.params", params)
        arrays |= {f"{name}.args.{i}": x for i, x in enumerate(args)}
        arrays |= {f"{name}.kwargs.{k}": x for k, x in kwargs.items()}
        arrays |= _flat(f"{name}.output", {"": output})
    path = pathlib.Path(__file__).parent / "fixture" / "published.npz"
    np.savez_compressed(path, **arrays)
    print(path, path.stat().st_size, "bytes", len(arrays), "arrays")


if __name__ == "__main__":
    main()
