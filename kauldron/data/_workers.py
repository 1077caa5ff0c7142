"""Worker processes: the only module that builds grain datasets."""

from __future__ import annotations

import dataclasses
import math
import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import Any

from kauldron.data import _errors, _transport

_ENDLESS = sys.maxsize // 2

# By default, processes are started only where they pay off: with cores to spare, and
# batches that cost far more than their transfer between processes.
_MIN_CORES = 4
_MIN_SECS_FOR_PROCESSES = 5e-3
_MAX_WORKERS = 16


class WorkerError(_errors.DataError):
    """A worker process ended."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """How batches are built in other processes.

    Attributes:
      num_workers: Number of processes; 0 builds in this one, `None` chooses.
      buffer_size: Batches each worker has ready.
      num_threads: Threads in each worker.
      enable_profiling: Whether grain profiles the workers.
      init_fn: Called in each worker with (worker index, number of workers).
    """

    num_workers: int | None = 0
    buffer_size: int = 1
    num_threads: int = 1
    enable_profiling: bool = False
    init_fn: Callable[[int, int], None] | None = None


def choose_num_workers(secs_per_batch: float, secs_between: float) -> int:
    """Returns how many processes keep up with the consumer; 0 if they should not be used.

    Args:
      secs_per_batch: What building a batch takes in one thread.
      secs_between: How much time passes between the consumer's demands.
    """
    num_cores = _num_cores()
    if num_cores < _MIN_CORES or secs_per_batch < _MIN_SECS_FOR_PROCESSES:
        return 0
    if not _may_spawn():
        return 0
    needed = math.ceil(secs_per_batch / max(secs_between, 1e-4)) + 1
    return max(min(needed, num_cores - 2, _MAX_WORKERS), 0)


def _num_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _may_spawn() -> bool:
    """Whether a worker can import the main module without running the program."""
    if "ipykernel" in sys.modules or "PYTEST_CURRENT_TEST" in os.environ:
        return False
    if multiprocessing.current_process().daemon:
        return False
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    if path is None:
        return False
    try:
        with open(path, encoding="utf-8") as file:
            return "__main__" in file.read()
    except (OSError, UnicodeDecodeError):
        return False


def start(
    get: Callable[[int], Any], count: int | None, options: WorkerOptions
) -> Results:
    """Starts workers that compute `get(0), get(1), ...`; results come in order.

    Args:
      get: Pickled to the workers.
      count: How many results; `None` if endless.
      options: How many workers, and what they do.

    Returns:
      An iterator with `close()`.
    """
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():
        # grain reads one of its flags, which fails in a program without `app.run`.
        flags.FLAGS.mark_as_parsed()
    _transport.start_tracker()
    folder = _transport.make_folder()
    dataset = grain.MapDataset.source(
        _Source(get, _ENDLESS if count is None else count, folder)
    )
    read = grain.ReadOptions(
        num_threads=options.num_threads, prefetch_buffer_size=options.num_threads + 1
    )
    processes = grain.MultiprocessingOptions(
        num_workers=options.num_workers or 0,
        per_worker_buffer_size=options.buffer_size,
        enable_profiling=options.enable_profiling,
    )
    of_one_worker = dataset.to_iter_dataset(read)
    if folder is not None:  # grain must not move arrays in its own way
        never = grain.experimental.DatasetOptions(min_shm_size=sys.maxsize)
        of_one_worker = grain.experimental.WithOptionsIterDataset(of_one_worker, never)
    init_fn = _InitWorker(options.init_fn, folder)
    try:
        iterator = iter(of_one_worker.mp_prefetch(processes, worker_init_fn=init_fn))
        iterator.start_prefetch()
    except BaseException:
        _transport.remove_folder(folder)
        raise
    return Results(iterator, folder)


class Results:
    """Results of workers, in order."""

    def __init__(self, iterator: Any, folder: str | None) -> None:
        self._iterator = iterator
        self._folder = folder

    def __iter__(self) -> Results:
        return self

    def __next__(self) -> Any:
        try:
            return _transport.unpack(next(self._iterator)["result"])
        except RuntimeError as error:
            if "exit code" not in str(error):
                raise
            raise WorkerError(
                f"A worker process of the data pipeline died: {error} If memory ran "
                "out, use fewer `num_workers`. A script that starts workers needs "
                "`if __name__ == '__main__':` around what it runs. `num_workers=0` uses "
                "no processes."
            ) from error

    def close(self) -> None:
        # Dropped here: when the interpreter ends, grain's `__del__` would fail.
        iterator, self._iterator = self._iterator, _NOTHING
        iterator.close()
        _transport.remove_folder(self._folder)


class _Nothing:
    def __next__(self) -> Any:
        raise StopIteration

    def close(self) -> None:
        pass


_NOTHING = _Nothing()


@dataclasses.dataclass
class _Source:
    get: Callable[[int], Any]
    count: int
    folder: str | None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        # In a dict: grain would drop a bare `None`.
        return {"result": _transport.pack(self.get(int(index)), self.folder)}


@dataclasses.dataclass
class _InitWorker:
    init_fn: Callable[[int, int], None] | None
    folder: str | None

    def __call__(self, index: int, count: int) -> None:
        _transport.end_with_parent(self.folder)
        # A transform that uses JAX must not take the accelerator from the training.
        os.environ["JAX_PLATFORMS"] = "cpu"
        if "jax" in sys.modules:
            sys.modules["jax"].config.update("jax_platforms", "cpu")
        if self.init_fn is not None:
            self.init_fn(index, count)
