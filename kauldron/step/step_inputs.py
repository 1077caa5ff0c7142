"""What a step cannot take: a state that is used up, a batch with texts."""

from __future__ import annotations

import re
from typing import Any

import jax
import jax.core

from kauldron._base import errors
from kauldron.data import utils as data_utils


class UsedStateError(errors.UserError, RuntimeError, ValueError):
    """A state whose arrays a step before has taken."""


class HostBatchError(errors.UserError, TypeError):
    """A batch with what devices cannot hold."""


def check_state(state: Any) -> None:
    """Raises `UsedStateError` if arrays of a state were donated before.

    Only `state.step` is looked at, as a step takes all of them or none. JAX may look at
    none: with several devices, jaxlib 0.10.2 ends by a segmentation fault.
    """
    is_traced = isinstance(state.step, jax.core.Tracer)
    is_deleted = None if is_traced else getattr(state.step, "is_deleted", None)
    if is_deleted is not None and is_deleted():
        raise UsedStateError(
            "The arrays of `state` are used up: it was given to `trainstep.step` before, "
            "which takes their memory (they are donated) for the state that it returns. "
            "Go on with that one, `state, aux = trainer.trainstep.step(state, batch)`, or "
            "give `step` a copy and keep yours: `jax.tree.map(jax.numpy.copy, state)`."
        )


def check_batch(batch: Any) -> None:
    """Raises `HostBatchError` if a batch holds texts; for a step that has failed.

    A step that goes well pays nothing for it.
    """
    names = data_utils.names_of_texts(batch)
    if not names:
        return
    texts = ", ".join(f"`batch.{name}`" for name in names)
    dropped = list(dict.fromkeys(re.split(r"[.\[]", name)[0] for name in names))
    # Not from the error: it begins with a page that describes the step.
    raise HostBatchError(
        f"{texts}: texts or dates, which devices cannot hold. A run leaves them on the "
        "host, and so does `ds.device_put(trainer.sharding.batch)`: iterate that. Or drop "
        f"them with one of the `transforms`, `kd.data.Elements(drop={dropped})`. "
        "`ds.element_spec` says what a batch holds."
    ) from None
