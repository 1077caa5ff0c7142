"""Random numbers of a patch: a function of seed, epoch, case, copy and number."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(*of: object) -> np.random.Generator:
    """Returns NumPy's generator for what is named, the same in every process."""
    digest = hashlib.sha256("/".join(map(str, of)).encode()).digest()
    key = np.frombuffer(digest[:16], np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
