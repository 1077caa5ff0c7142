"""The contract of pipelines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from kauldron.data import datasets
from kauldron.testing._requirements import copy_to_host, require, require_same_bits


def check_pipeline(
    make: Callable[[], datasets.IterableDataset], *, num_batches: int = 5
) -> None:
    """Checks that a pipeline keeps its contract.

    It proves:

    - Every pass gives the same batches bit for bit, also that of an equal pipeline.
    - Batches fit `element_spec`; only the last of a pipeline that ends may be smaller.
    - A saved position is JSON, and an iterator that was given it continues with the
      next batch, bit for bit: from every position, the end included.
    - After the last batch comes `StopIteration`, and again when asked again.
    - A length that is known is the number of batches.

    Args:
      make: Returns the pipeline, bound, with a seed.
      num_batches: How many batches are read of one that is longer, or endless.

    Raises:
      AssertionError: Says what does not hold.

    Example:

    ```python
    import numpy as np
    from kauldron import kd


    def test_my_pipeline_keeps_its_contract():
        examples = [{"x": np.float32(i)} for i in range(10)]
        ds = kd.data.py.DataSource(examples, shuffle=True, batch_size=4, seed=0)
        kd.testing.check_pipeline(lambda: ds)


    test_my_pipeline_keeps_its_contract()
    ```
    """
    ds = make()
    batches, states, has_ended = _read(ds, num_batches)
    require(batches, "There is no batch.")
    for again, who in ((ds, "A second pass"), (make(), "An equal pipeline")):
        others, _, _ = _read(again, num_batches)
        require_same_bits(others, batches, f"{who} gives other batches.")
    _check_spec(ds, batches, has_ended)
    _check_length(ds, batches, has_ended)
    for k, state in enumerate(states):
        with iter(make()) as rest:
            rest.set_state(json.loads(state))
            left = copy_to_host(list(itertools.islice(rest, len(batches) - k)))
        require_same_bits(left, batches[k:], f"Going on after {k} batches differs.")


def _read(ds: Any, num_batches: int) -> tuple[list[Any], list[str], bool]:
    """Returns batches, the position before each and after the last, and whether it ended."""
    batches, states = [], []
    with iter(ds) as it:
        while True:
            try:
                states.append(json.dumps(it.get_state()))
            except TypeError as e:
                raise AssertionError(f"A position must be JSON: {e}.") from e
            if len(batches) == num_batches:
                return batches, states, False
            try:
                batches.append(copy_to_host(next(it)))
            except StopIteration:
                break
        try:
            next(it)
        except StopIteration:
            return batches, states, True
    raise AssertionError("There is another batch after `StopIteration`.")


def _check_spec(ds: Any, batches: list[Any], has_ended: bool) -> None:
    specs, structure = jax.tree.flatten(ds.element_spec)
    for number, batch in enumerate(batches):
        require(
            jax.tree.structure(batch) == structure,
            f"Batch {number} has the structure {jax.tree.structure(batch)}; "
            f"`element_spec` has {structure}.",
        )
        is_last = has_ended and number == len(batches) - 1
        for leaf, spec in zip(jax.tree.leaves(batch), specs, strict=True):
            shape, dtype = tuple(spec.shape), np.dtype(spec.dtype)
            fits = leaf.shape == shape or (
                is_last and leaf.shape[1:] == shape[1:] and leaf.shape[0] <= shape[0]
            )
            is_text = leaf.dtype.kind in "UO" and dtype.kind in "UO"
            require(
                fits and (leaf.dtype == dtype or is_text),
                f"Batch {number} has {leaf.dtype}{list(leaf.shape)} where "
                f"`element_spec` says {dtype}{list(shape)}.",
            )


def _check_length(ds: Any, batches: list[Any], has_ended: bool) -> None:
    try:
        length = len(ds)
    except TypeError:  # endless, or not known
        return
    is_right = length == len(batches) if has_ended else length >= len(batches)
    require(is_right, f"`len` is {length}; there are {len(batches)} batches.")
