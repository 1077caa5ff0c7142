"""The contract of transforms of elements."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

from kauldron.testing._requirements import require_same_bits


def check_transform(transform: Any, element: Any) -> None:
    """Checks that a deterministic transform of elements keeps its contract.

    It proves:

    - The same element gives the same result bit for bit, whatever was mapped before, and
      after a journey to a worker process (pickle).
    - The element it is given is left as it is.

    Args:
      transform: Has `map(element)`, as `kd.data.Cast` has; or a function.
      element: An example, such as `{"image": ..., "label": ...}`.

    Raises:
      AssertionError: Says what does not hold.

    Example:

    ```python
    def test_my_transform_keeps_its_contract():
        element = {"image": np.zeros((8, 8, 1), np.uint8)}
        kd.testing.check_transform(Darken(key="image"), element)
    ```
    """
    run: Callable[[Any], Any] = getattr(transform, "map", transform)
    before = copy.deepcopy(element)
    result = copy.deepcopy(run(element))
    require_same_bits(element, before, "The transform changes the element it is given.")
    require_same_bits(run(element), result, "A second call gives something else.")
    travelled = pickle.loads(pickle.dumps(transform))
    run = getattr(travelled, "map", travelled)
    require_same_bits(run(element), result, "After pickling it gives something else.")
