"""Losses and metrics of language models keep the contract, and equal NumPy in f64."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from scipy import special

from kauldron.lm.losses import _cross_entropy, _experts, _policy, _preferences
from tests.metrics import contract

VOCAB, FEATURES = 7, 4
KERNEL = np.random.default_rng(5).normal(size=(FEATURES, VOCAB)).astype(np.float32)


@dataclasses.dataclass(frozen=True, kw_only=True)
class OfFixedHead(_cross_entropy.ChunkedCrossEntropy):
    """The chunked loss with one kernel: inputs of the contract are examples."""

    def get_state(self, hidden, targets, mask=None, step=None):
        kernel = KERNEL.astype(hidden.dtype)
        return super().get_state(hidden, kernel, targets, mask=mask, step=step)


def _tokens(rng, n):
    logits = 2 * rng.normal(size=(n, 3, VOCAB)).astype(np.float32)
    return {"logits": logits, "targets": rng.integers(VOCAB, size=(n, 3))}


def _hidden(rng, n):
    hidden = rng.normal(size=(n, 3, FEATURES)).astype(np.float32)
    return {"hidden": hidden, "targets": rng.integers(VOCAB, size=(n, 3))}


def _nats(logits, targets, smoothing=0.0, z_loss=0.0):
    logs = special.log_softmax(logits, -1)
    target = (1 - smoothing) * np.eye(VOCAB)[targets] + smoothing / VOCAB
    log_sum = np.log(np.exp(logits).sum(-1))
    return -(target * logs).sum(-1) + z_loss * log_sum**2


def _average(values, m):
    if m is None:
        return values.mean()
    return np.average(values, weights=np.broadcast_to(m, values.shape))


def _of_logits(m, logits, targets):
    return _average(_nats(logits, targets, 0.1, 0.01), m)


def _of_hidden(m, hidden, targets):
    logits = 3 * np.tanh(hidden @ KERNEL.astype(np.float64) / 3)
    return _average(_nats(logits, targets, 0.1, 0.01), m)


def _of_pairs(base) -> Any:
    """Returns `get_state` of arrays, as the contract gives them, for one of trees."""

    def get_state(self, mask=None, **flat):
        trees = {
            owner: {side: flat[f"{owner}_{side}"] for side in ("chosen", "rejected")}
            for owner in ("policy", "reference")
        }
        return base.get_state(
            self,
            policy_logps=trees["policy"],
            reference_logps=trees["reference"],
            chosen_mask=flat["chosen_mask"],
            rejected_mask=flat["rejected_mask"],
            mask=mask,
        )

    return get_state


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlatDPO(_preferences.DPO):
    get_state = _of_pairs(_preferences.DPO)


@dataclasses.dataclass(frozen=True, kw_only=True)
class FlatRewards(_preferences.PreferenceRewards):
    get_state = _of_pairs(_preferences.PreferenceRewards)


def _pairs(rng, n):
    def logps():
        return -rng.exponential(size=(n, 3)).astype(np.float32)

    names = ("policy_chosen", "policy_rejected")
    names += ("reference_chosen", "reference_rejected")
    masks = {k: rng.integers(2, size=(n, 3)) for k in ("chosen_mask", "rejected_mask")}
    return {name: logps() for name in names} | masks


def _margins(x):
    def score(owner, side):
        return (x[f"{owner}_{side}"] * x[f"{side}_mask"]).sum(-1)

    return [
        score("policy", side) - score("reference", side)
        for side in ("chosen", "rejected")
    ]


def _dpo(m, **x):
    chosen, rejected = _margins(x)
    h = 0.3 * (chosen - rejected)
    values = -0.9 * np.log(special.expit(h)) - 0.1 * np.log(special.expit(-h))
    return _average(values, None if m is None else m[:, 0])


def _rewards(m, **x):
    chosen, rejected = (0.3 * side for side in _margins(x))
    margin = chosen - rejected
    accuracy = np.where(margin == 0, 0.5, margin > 0)
    weights = None if m is None else m[:, 0]
    names = ("chosen", "rejected", "margin", "accuracy")
    values = (chosen, rejected, margin, accuracy)
    return {n: _average(v, weights) for n, v in zip(names, values, strict=True)}


def _sampled(rng, n):
    old = -rng.exponential(size=(n, 3)).astype(np.float32)
    return {
        "logps": old + 0.3 * rng.normal(size=(n, 3)).astype(np.float32),
        "old_logps": old,
        "reference_logps": old + 0.3 * rng.normal(size=(n, 3)).astype(np.float32),
        "advantages": rng.normal(size=n).astype(np.float32),
    }


def _grpo(m, logps, old_logps, reference_logps, advantages):
    ratio, a = np.exp(logps - old_logps), advantages[:, None]
    values = -np.minimum(ratio * a, np.clip(ratio, 0.8, 1.3) * a)
    u = np.exp(reference_logps - logps)
    return _average(values + 0.04 * (u - np.log(u) - 1), m)


def _drift(m, logps, old_logps, reference_logps):
    ratio, d = np.exp(logps - old_logps), logps - reference_logps
    return {
        "kl": _average(d**2 / 2, m),
        "clipped": _average((ratio < 0.8) | (ratio > 1.3), m),
    }


def _routed(rng, n):
    logits = rng.normal(size=(n, 2, 5)).astype(np.float32)
    index = np.argsort(-logits, axis=-1)[..., :2]
    return {"probs": special.softmax(logits, -1), "index": index}


def _balance(m, probs, index):
    m = np.ones((len(probs), 1)) if m is None else m
    weights = np.broadcast_to(m, probs.shape[:2])
    loads = np.zeros(5)
    for chosen, w in zip(index.reshape(-1, 2), weights.ravel(), strict=True):
        for expert in chosen:
            loads[expert] += w / 2
    mean = np.average(probs.reshape(-1, 5), axis=0, weights=weights.ravel())
    return 5 * (loads / weights.sum() * mean).sum()


def _router_statistics(m, probs, index):
    weights = np.broadcast_to(
        np.ones((len(probs), 1)) if m is None else m, (len(probs), 2)
    )
    loads = np.bincount(
        index.ravel(), weights=np.repeat(weights.ravel(), 2), minlength=5
    )
    return {
        "entropy": np.average(special.entr(probs).sum(-1), weights=weights),
        "dead_experts": np.mean(loads == 0),
        "imbalance": loads.max() / loads.mean(),
    }


_smoothed: Any = {"label_smoothing": 0.1, "z_loss": 0.01}
CASES = [
    contract.Case(
        _cross_entropy.TokenCrossEntropy(logits="l", targets="t", **_smoothed),
        _tokens,
        _of_logits,
    ),
    contract.Case(
        OfFixedHead(
            hidden="h",
            kernel="k",
            targets="t",
            head_softcap=3.0,
            num_chunks=2,
            **_smoothed,
        ),
        _hidden,
        _of_hidden,
        is_fine_in_bf16=False,  # a head computes in the dtype of the hidden states
    ),
    contract.Case(
        FlatDPO(beta=0.3, label_smoothing=0.1), _pairs, _dpo, mask_shape=(1,)
    ),
    contract.Case(FlatRewards(beta=0.3), _pairs, _rewards, mask_shape=(1,)),
    contract.Case(
        _policy.GRPO(clip_high=0.3, kl_coef=0.04, reference_logps="r"), _sampled, _grpo
    ),
    contract.Case(
        _policy.PolicyDrift(clip_high=0.3, kl="k2", reference_logps="r"),
        lambda rng, n: {k: v for k, v in _sampled(rng, n).items() if k != "advantages"},
        _drift,
    ),
    contract.Case(_experts.MoELoadBalance(), _routed, _balance, mask_shape=(2,)),
    contract.Case(
        _experts.MoEZLoss(),
        lambda rng, n: {"logits": rng.normal(size=(n, 2, 5)).astype(np.float32)},
        lambda m, logits: _average(np.log(np.exp(logits).sum(-1)) ** 2, m),
        mask_shape=(2,),
    ),
    contract.Case(
        _experts.RouterStatistics(), _routed, _router_statistics, mask_shape=(2,)
    ),
]


@contract.laws(CASES, without="test_merging_inside_jit_equals_merging_outside")
class TestContract:
    pass
