"""Attention and its gradients in NumPy and f64, written from the formulas."""

from __future__ import annotations

import numpy as np


def sees(
    shape,
    *,
    mask=None,
    is_causal=False,
    window=None,
    query_positions=None,
    key_positions=None,
    query_segment_ids=None,
    key_segment_ids=None,
):
    """Which key each query sees, one pair after the other; shape `b n t s`."""
    result = np.zeros(shape, bool)
    for b, n, t, s in np.ndindex(*shape):
        row = t if query_positions is None else query_positions[b, t]
        column = s if key_positions is None else key_positions[b, s]
        one = mask is None or np.broadcast_to(mask, shape)[b, n, t, s]
        one = one and column >= 0 and not (is_causal and column > row)
        one = one and (window is None or abs(int(row) - int(column)) < window)
        if query_segment_ids is not None:
            one = one and query_segment_ids[b, t] == key_segment_ids[b, s]
        result[b, n, t, s] = one
    return result


def attention(
    query, key, value, grad, *, bias=None, scale=None, softcap=None, **visibility
):
    """Returns the output and the gradients of `sum(output * grad)`."""
    q, k, v, grad = (np.asarray(x, np.float64) for x in (query, key, value, grad))
    num_groups = q.shape[2] // k.shape[2]
    k, v = (np.repeat(x, num_groups, axis=2) for x in (k, v))
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    logits = np.einsum("btnh,bsnh->bnts", q, k) * scale
    slope = 1.0
    if softcap is not None:
        slope = 1 - np.tanh(logits / softcap) ** 2
        logits = softcap * np.tanh(logits / softcap)
    if bias is not None:
        logits = logits + bias
    exp = np.where(sees(logits.shape, **visibility), np.exp(logits), 0)
    norm = exp.sum(axis=-1, keepdims=True)
    weights = exp / np.where(norm == 0, 1, norm)
    out = np.einsum("bnts,bsnv->btnv", weights, v)

    grad_weights = np.einsum("btnv,bsnv->bnts", grad, v)
    mean = np.sum(weights * grad_weights, axis=-1, keepdims=True)
    grad_logits = weights * (grad_weights - mean)
    products = grad_logits * slope * scale
    grads = {
        "query": np.einsum("bnts,bsnh->btnh", products, k),
        "key": _by_group(np.einsum("bnts,btnh->bsnh", products, q), num_groups),
        "value": _by_group(np.einsum("bnts,btnv->bsnv", weights, grad), num_groups),
    }
    if bias is not None:
        axes = tuple(a for a in range(4) if bias.shape[a] == 1)
        grads["bias"] = grad_logits.sum(axis=axes, keepdims=True)
    return out, grads


def _by_group(x, num_groups):
    b, s, n, d = x.shape
    return x.reshape(b, s, n // num_groups, num_groups, d).sum(axis=3)
