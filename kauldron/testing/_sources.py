"""The contract of sources: examples with random access."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from kauldron import kontext
from kauldron.testing._requirements import require, require_same_bits

_MAX_READ = 32


class Source(Protocol):
    """What `kd.data.py.DataSource(data_source=...)` takes."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any: ...


def check_source(make: Callable[[], Source]) -> None:
    """Checks that a source keeps its contract.

    It proves:

    - `len` is a number >= 1 that stays the same.
    - An example depends on its index alone: not on what was read before, nor on the
      object, and it is the same bit for bit after a journey to a worker process (pickle).
    - All examples have one structure, with the same dtypes and numbers of axes.
    - There is nothing behind the last example: `IndexError`.

    At most 32 examples are read, spread over the source.

    Args:
      make: Returns the source.

    Raises:
      AssertionError: Says what does not hold.

    Example:

    ```python
    import numpy as np
    from kauldron import kd


    def test_my_source_keeps_its_contract():
        points = [{"x": np.full(3, i, np.float32)} for i in range(5)]
        kd.testing.check_source(lambda: points)


    test_my_source_keeps_its_contract()
    ```
    """
    source = make()
    size = len(source)
    require(
        size >= 1 and len(source) == size and len(make()) == size,
        f"`len` must be a number >= 1, always the same: got {size}, {len(make())}. List "
        "what there is once, in the constructor.",
    )
    indices = np.unique(np.linspace(0, size - 1, min(size, _MAX_READ)).astype(int))
    examples = {int(i): _copy(source[int(i)]) for i in indices}
    other = make()
    travelled = pickle.loads(pickle.dumps(source))
    for i, example in reversed(examples.items()):
        for reader, who in (
            (source, "when it is read again"),
            (other, "of another object"),
            (travelled, "after pickling"),
        ):
            require_same_bits(
                _copy(reader[i]),
                example,
                f"Example {i} differs {who}. It must depend on its index alone: shuffling "
                "and randomness are the pipeline's.",
            )
    first = _kinds(examples[0])
    for i, example in examples.items():
        require(
            _kinds(example) == first,
            f"Example {i} has {_kinds(example)}; example 0 has {first}. Give all examples "
            "the same arrays, with the same dtypes: batches are stacked.",
        )
    try:
        source[size]
    except IndexError:
        return
    raise AssertionError(
        f"`source[{size}]` must raise `IndexError`, since len is {size}: check the index, "
        "or leave that to a list."
    )


def _copy(example: Any) -> Any:
    return {k: np.array(v) for k, v in kontext.flatten_with_path(example).items()}


def _kinds(example: dict[str, np.ndarray]) -> dict[str, str]:
    """Returns name -> dtype and number of axes; texts have lengths of their own."""
    return {
        name: f"{'text' if x.dtype.kind in 'UO' else x.dtype}, {x.ndim} axes"
        for name, x in example.items()
    }
