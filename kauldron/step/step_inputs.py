"""Inputs that a step refuses: a donated state, host-only columns in a batch."""

from __future__ import annotations

import re
from typing import Any

from kauldron._base import errors
from kauldron.data import utils as data_utils


class UsedStateError(errors.UserError, RuntimeError, ValueError):
    """A state whose arrays were donated to an earlier step."""

    def __init__(self) -> None:
        super().__init__(
            "The arrays of `state` are used up: it was given to `trainstep.step` before, "
            "which takes their memory (they are donated) for the state that it returns. "
            "Go on with that one, `state, aux = trainer.trainstep.step(state, batch)`, or "
            "give `step` a copy and keep yours: `jax.tree.map(jax.numpy.copy, state)`."
        )


class HostBatchError(errors.UserError, TypeError):
    """A batch with values that devices cannot hold."""


def check_batch(batch: Any) -> None:
    """Raises `HostBatchError` if a batch holds texts; for a step that has failed.

    A step that succeeds pays nothing for it.
    """
    names = data_utils.names_of_texts(batch)
    if not names:
        return
    texts = ", ".join(f"`batch.{name}`" for name in names)
    dropped = list(dict.fromkeys(re.split(r"[.\[]", name)[0] for name in names))
    # `from None`: the original error begins with a page that describes the step.
    raise HostBatchError(
        f"{texts}: texts or dates, which devices cannot hold. A run leaves them on the "
        "host, and so does `ds.device_put(trainer.sharding.batch)`: iterate that. Or drop "
        f"them with one of the `transforms`, `kd.data.Elements(drop={dropped})`. "
        "`ds.element_spec` says what a batch holds."
    ) from None
