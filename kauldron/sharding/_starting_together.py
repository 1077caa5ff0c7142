"""All processes start the same program, or none does, and each says why not.

Programs that differ between processes would wait for each other forever, or compute
nonsense: a process has another config, another dataset, another version of a library, or
has failed before the others began.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator

import jax
import numpy as np
from jax.experimental import multihost_utils

from kauldron._base import processes

_MAX_DIFFERENCES = 8
_MAX_VALUE = 120
_FAILURE = "failure"


@contextlib.contextmanager
def starting_together() -> Iterator[dict[str, str]]:
    """Lets all processes through if they all come, with the same facts.

    Costs nothing if there is one process. Nothing may be on a device yet.

    Yields:
      To be filled inside the block: what must be the same in all processes, each fact
      under the name that is told if it differs. Earlier ones are told first.

    Raises:
      ProcessesError: If another process has failed inside the block, or has other facts.
    """
    facts: dict[str, str] = {}
    if jax.process_count() == 1:
        yield facts
        return
    _check_local_devices()
    try:
        yield facts
    except Exception as e:
        _exchange({_FAILURE: str(e) or type(e).__name__})
        jax.distributed.shutdown()  # together; afterwards each ends when it likes
        raise
    everybody = _exchange(facts)
    problem = everybody and _describe(everybody, jax.process_index())
    if problem:
        jax.distributed.shutdown()
        raise processes.ProcessesError(problem)


def _check_local_devices() -> None:
    """Finds what even the exchange needs; all processes see the same."""
    nums = {
        process: sum(d.process_index == process for d in jax.devices())
        for process in range(jax.process_count())
    }
    if len(set(nums.values())) > 1:
        told = ", ".join(f"process {i} has {num}" for i, num in nums.items())
        raise processes.ProcessesError(
            f"Processes must have the same number of devices: {told}."
        )


def _exchange(facts: dict[str, str]) -> list[dict[str, str]] | None:
    """Returns the facts of each process; `None` if they are the same in all."""
    text = json.dumps(facts).encode()
    digest = np.frombuffer(hashlib.sha256(text).digest(), np.uint8)
    digests = multihost_utils.process_allgather(digest)
    if (digests == digests[0]).all() and _FAILURE not in facts:
        return None
    sizes = multihost_utils.process_allgather(np.int32(len(text)))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(text)] = np.frombuffer(text, np.uint8)
    texts = multihost_utils.process_allgather(padded)
    return [
        json.loads(row[:size].tobytes()) for row, size in zip(texts, sizes, strict=True)
    ]


def _describe(everybody: list[dict[str, str]], index: int) -> str:
    """Returns which process has failed, or in what processes differ."""
    failures = {i: f[_FAILURE] for i, f in enumerate(everybody) if _FAILURE in f}
    if failures:
        first, reason = next(iter(failures.items()))
        more = f" (as have {len(failures) - 1} others)" if len(failures) > 1 else ""
        return f"Process {first} has failed{more}, so none is started: {reason}"
    first = everybody[0]
    others = [i for i, facts in enumerate(everybody) if facts != first]
    # Each tells its own difference; the first process, and those like it, one of them.
    other = index if index in others else others[0]
    theirs = everybody[other]
    names = [n for n in {**first, **theirs} if first.get(n) != theirs.get(n)]
    names.sort(
        key=lambda name: not name.startswith("cfg.")
    )  # what the user has written
    lines = [
        f"  {name}: {_show(first.get(name))} in process 0, {_show(theirs.get(name))} in "
        f"process {other}"
        for name in names[:_MAX_DIFFERENCES]
    ]
    if len(names) > _MAX_DIFFERENCES:
        lines.append(f"  and {len(names) - _MAX_DIFFERENCES} more")
    whom = f"process {others[0]}" if len(others) == 1 else f"processes {_list(others)}"
    return "\n".join(
        [
            f"The program of {whom} differs from that of process 0, so none is started. "
            "Start all with the same command, code and data:",
            *lines,
        ]
    )


def _show(value: str | None) -> str:
    if value is None:
        return "nothing"
    return value if len(value) <= _MAX_VALUE else f"{value[:_MAX_VALUE]}..."


def _list(indices: list[int]) -> str:
    some = ", ".join(map(str, indices[:8]))
    return f"{some}, ..." if len(indices) > 8 else some
