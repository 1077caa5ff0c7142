"""The contract of transforms of elements."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np

from kauldron import data, kontext
from kauldron.testing._requirements import require, require_same_bits

_SEEDS = range(8)


def check_transform(transform: Any, element: Any) -> None:
    """Checks that a transform of elements keeps its contract.

    It proves:

    - The same element gives the same result bit for bit, whatever was mapped before, and
      after a journey to a worker process (pickle). Of a `kd.data.RandomMapTransform`:
      with a generator in the same state.
    - The element it is given is left as it is.
    - Of a random one: it draws from the generator it is given, so that a run that is
      interrupted continues with the same elements; results keep their structure,
      whatever is drawn.

    Args:
      transform: Has `map(element)`, as `kd.data.Cast` has; or `random_map(element, rng)`;
        or is a function.
      element: An example, such as `{"image": ..., "label": ...}`.

    Raises:
      AssertionError: Says what does not hold.

    Example:

    ```python
    import numpy as np
    from kauldron import kd

    element = {"image": np.arange(64, dtype=np.uint8).reshape(8, 8, 1)}
    kd.testing.check_transform(kd.data.Resize(key="image", size=(4, 4)), element)
    kd.testing.check_transform(kd.data.RandomCrop(key="image", shape=(4, 4, 1)), element)
    ```
    """
    is_random = isinstance(transform, data.RandomMapTransform)
    run = _runner(transform, is_random)
    before = copy.deepcopy(element)
    result = copy.deepcopy(run(element))
    require_same_bits(
        element,
        before,
        "The transform changes the element it is given. Copy before writing: "
        "`{**element, 'image': changed}`, and no `+=` on its arrays.",
    )
    again = "It must depend on the element alone: no counter, no generator of its own."
    if is_random:
        again = "Draw from the `rng` that is given, never from `np.random` or `random`."
    require_same_bits(
        run(element), result, f"A second call gives something else. {again}"
    )
    travelled = pickle.loads(pickle.dumps(transform))
    require_same_bits(
        _runner(travelled, is_random)(element),
        result,
        "After pickling it gives something else. Keep all it needs in its fields.",
    )
    if is_random:
        _check_draws(transform, element, result)


def _runner(transform: Any, is_random: bool) -> Callable[[Any], Any]:
    if is_random:
        return lambda element: transform.random_map(element, np.random.default_rng(0))
    return getattr(transform, "map", transform)


def _check_draws(transform: Any, element: Any, result: Any) -> None:
    kinds = _kinds(result)
    for seed in _SEEDS:
        drawn = transform.random_map(element, np.random.default_rng(seed))
        require(
            _kinds(drawn) == kinds,
            f"With another generator it gives {_kinds(drawn)} instead of {kinds}: examples "
            "of a batch must have the same arrays. Crop or pad to one size, and add what "
            "is optional with a mask.",
        )


def _kinds(element: Any) -> dict[str, str]:
    return {
        str(path): f"{np.asarray(x).dtype}{list(np.shape(x))}"
        for path, x in kontext.flatten_with_path(element).items()
    }
