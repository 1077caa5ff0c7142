"""The import policy of each node of an untrusted config."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from kauldron.konfig.tree import _walk

if TYPE_CHECKING:
    from kauldron.konfig.names import _policy


def mark(cfg: Any, policy: _policy.Policy) -> None:
    """Marks every node of a config as not trusted."""

    for node in _walk.iter_nodes(cfg):
        node.__dict__["_trust"] = policy


def extend(cfg: Any, trusted: Iterable[str]) -> Any:
    """Returns a copy of a config in which more packages are trusted."""
    cfg = copy.deepcopy(cfg)
    for node in _walk.iter_nodes(cfg):
        if node._trust is not None:
            node.__dict__["_trust"] = node._trust.extended(trusted)
    return cfg
