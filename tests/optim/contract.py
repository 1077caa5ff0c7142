"""What an optimizer of a run must do, whoever wrote it; a member is one line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from kauldron import konfig

with konfig.imports(lazy=True):
    import optax as lazy_optax

    from kauldron import kd

_RATE = 1e-2

# By their names in `optax` and `optax.contrib`, with what they require besides the rate.
OPTAX: Mapping[str, dict[str, Any]] = {
    "adabelief": {},
    "adadelta": {},
    "adafactor": {},
    "adagrad": {},
    "adam": {},
    "adamax": {},
    "adamaxw": {},
    "adamw": {},
    "adan": {},
    "amsgrad": {},
    "fromage": {},
    "lamb": {},
    "lars": {},
    "lion": {},
    "nadam": {},
    "nadamw": {},
    "noisy_sgd": {"key": 0},
    "novograd": {},
    "optimistic_gradient_descent": {},
    "radam": {},
    "rmsprop": {},
    "rprop": {},
    "sgd": {"momentum": 0.9},
    "sign_sgd": {},
    "sm3": {},
    "yogi": {},
    "contrib.acprop": {},
    "contrib.ademamix": {},
    "contrib.adopt": {},
    "contrib.cocob": {},
    "contrib.dadapt_adamw": {},
    "contrib.dog": {"init_step": ("heuristic", 1e-2)},
    "contrib.madgrad": {},
    "contrib.muon": {},
    "contrib.prodigy": {},
    "contrib.schedule_free_adamw": {},
    "contrib.schedule_free_sgd": {},
}

# Compiled by the quick tests, with all of our own; the others are by the slow ones.
COMMON = (
    "adafactor",
    "adam",
    "adamw",
    "lamb",
    "lion",
    "rmsprop",
    "sgd",
    "contrib.prodigy",
    "contrib.schedule_free_adamw",
)

# These find their step size themselves.
WITHOUT_RATE = ("contrib.cocob",)


def optax_node(name: str, rate: Any = _RATE) -> Any:
    """Returns the config of an optimizer of optax."""
    make = lazy_optax
    for part in name.split("."):
        make = getattr(make, part)
    kwargs = dict(OPTAX[name])
    if name not in WITHOUT_RATE:
        kwargs["learning_rate"] = rate
    return make(**kwargs)


def own_nodes() -> dict[str, Any]:
    """Returns the configs of what `kd.optim` makes."""
    adam = lazy_optax.adam(_RATE)
    chain = kd.optim.named_chain
    return {
        "named_chain": chain(clip=lazy_optax.clip_by_global_norm(1.0), adam=adam),
        "partial_updates": kd.optim.partial_updates(adam, mask=kd.optim.select("head")),
        "by_path": kd.optim.by_path(
            {"embed": None, "**.bias": lazy_optax.sgd(_RATE), "**": adam}
        ),
        "ema_params": chain(adam=adam, ema=kd.optim.ema_params(decay=0.9)),
        "decay_to_init": chain(pull=kd.optim.decay_to_init(0.1), adam=adam),
        "layerwise_decay": chain(
            adam=adam, decay=kd.optim.layerwise_decay(0.5, embeddings="embed")
        ),
        "plateau_scale": chain(adam=adam, plateau=kd.optim.plateau_scale()),
        "muon": kd.optim.muon(_RATE, exclude="head", adam_weight_decay=0.1),
        "no_bias_or_norm": lazy_optax.adamw(_RATE, mask=kd.optim.no_bias_or_norm),
    }


def all_nodes() -> dict[str, Any]:
    return {name: optax_node(name) for name in OPTAX} | own_nodes()


def make_params(dtype: Any = jnp.float32) -> Any:
    """Parameters of all kinds; the matrices divide over eight devices."""
    shapes = {
        "embed": {"embedding": (8, 4)},
        "layers_0": {"kernel": (4, 8), "bias": (8,)},
        "LayerNorm_0": {"scale": (8,)},
        "head": {"kernel": (8, 2), "bias": (2,)},
    }
    count = iter(range(1, 100))
    return jax.tree.map(
        lambda shape: jax.random.normal(jax.random.key(next(count)), shape, dtype),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )


def make_update(optimizer: Any) -> Any:
    """Returns `(params, state) -> (params, state)` that pulls everything to 0."""

    def update(params: Any, state: Any) -> tuple[Any, Any]:
        grads = params
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return update
