"""What many predictions of one volume come to: their mean, their label, their doubt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kauldron._base import errors
from kauldron.volumes.geometry.errors import VolumeError


def mean(members: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the mean of all members, of each voxel and channel."""
    # A running mean: where members agree, it is exact.
    total = np.array(members[0], np.float32)
    for i, member in enumerate(members[1:], 2):
        total += (member - total) / np.float32(i)
    return total


def median(members: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the median of each voxel and channel."""
    return np.median(np.stack(members), axis=0).astype(np.float32)


def vote(members: Sequence[np.ndarray]) -> np.ndarray:
    """Returns for each class the share of members whose highest score it is."""
    num_classes = members[0].shape[-1]
    classes = np.arange(num_classes)
    ballots = [np.argmax(x, -1)[..., None] == classes for x in members]
    return mean([ballot.astype(np.float32) for ballot in ballots])


def stack(members: Sequence[np.ndarray]) -> np.ndarray:
    """Returns all members, the channels of each behind those of the one before."""
    return np.concatenate(members, axis=-1)


def variance(members: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the variance over members, its mean over channels, `f32[z y x 1]`."""
    spread = np.var(np.stack(members).astype(np.float64), axis=0)
    return spread.mean(-1, keepdims=True).astype(np.float32)


def entropy(members: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the entropy of the mean probabilities in nats, `f32[z y x 1]`.

    Raises:
      VolumeError: If the members are no probabilities.
    """
    probs = mean(members).astype(np.float64)
    if probs.min() < 0 or np.abs(probs.sum(-1) - 1).max() > 1e-3:
        raise VolumeError(
            "The entropy is that of probabilities, which sum up to 1: got values in "
            f"[{probs.min():g}, {probs.max():g}]. Make them by "
            "`each=[kd.volumes.transforms.Softmax()]`."
        )
    logs = np.log(np.maximum(probs, np.finfo(np.float64).tiny))
    return -(probs * logs).sum(-1, keepdims=True).astype(np.float32)


def disagreement(members: Sequence[np.ndarray]) -> np.ndarray:
    """Returns the share of members that are not of the most frequent label."""
    return 1 - vote(members).max(-1, keepdims=True)


COMBINATIONS = {"mean": mean, "median": median, "vote": vote, "stack": stack}
DOUBTS = {"variance": variance, "entropy": entropy, "disagreement": disagreement}


def check(name: str, allowed: Sequence[str], field: str) -> None:
    """Raises `VolumeError` unless a name is one of those allowed."""
    if name not in allowed:
        raise VolumeError(
            f"`{field}` is one of {list(allowed)}: got {name!r}."
            f"{errors.did_you_mean(str(name), allowed)}"
        )
