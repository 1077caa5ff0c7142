"""Checkpointable iterators over batches, which resume exactly."""

from __future__ import annotations

import abc
import queue
import threading
from collections.abc import Callable, Mapping
from typing import Any, Self

from kauldron.data import _errors, _thread_turns


class Iterator(abc.ABC):
    """Batches one after the other, from a position that can be saved.

    `state = it.get_state()` after k batches, and `set_state(state)` on another iterator
    of an equal dataset: its next batch is the (k+1)-th, bit for bit. `close()` ends
    threads and processes; so does leaving a `with` block.

    Attributes:
      source: The dataset that is iterated.
    """

    def __init__(self, source: Any) -> None:
        self.source = source

    @abc.abstractmethod
    def __next__(self) -> Any:
        """Returns the next batch."""

    @abc.abstractmethod
    def get_state(self) -> dict[str, Any]:
        """Returns the position after the batches handed out, JSON-able."""

    @abc.abstractmethod
    def set_state(self, state: dict[str, Any]) -> None:
        """Continues after the batches that had been handed out.

        Raises:
          IteratorStateError: If the state is that of another dataset.
        """

    def follow(self, get_state: Callable[[], Any]) -> bool:
        """Says where the state of a run is found, for batches that depend on it.

        Args:
          get_state: Returns the `TrainState` that the next step begins with. A step uses
            its arrays up: ask for each batch anew, and keep none.

        Returns:
          Whether the batches depend on it. Then each is loaded right before its step.
        """
        del get_state
        return False

    def close(self) -> None:  # noqa: B027 (most have nothing to end)
        """Ends threads and processes; the iterator can't be used any more."""

    @property
    def element_spec(self) -> Any:
        """Shapes and dtypes of a batch, as `enp.ArraySpec`."""
        return self.source.element_spec

    @property
    def has_whole_batch(self) -> bool:
        """Whether every process holds all rows of the batch handed out last.

        That is so for a smaller last batch when several processes run; otherwise each
        process holds its own rows.
        """
        return False

    def __len__(self) -> int:
        """Returns the number of batches of the dataset."""
        return len(self.source)

    def __iter__(self) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class MappedIterator(Iterator):
    """Applies a function to each batch."""

    def __init__(self, source: Any, inner: Iterator, fn: Callable[[Any], Any]) -> None:
        super().__init__(source)
        self._inner = inner
        self._fn = fn

    def __next__(self) -> Any:
        return self._fn(next(self._inner))

    def get_state(self) -> dict[str, Any]:
        return self._inner.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        self._inner.set_state(state)

    def follow(self, get_state: Callable[[], Any]) -> bool:
        return self._inner.follow(get_state)

    def close(self) -> None:
        self._inner.close()

    @property
    def has_whole_batch(self) -> bool:
        return self._inner.has_whole_batch


class TakeIterator(Iterator):
    """Ends after some number of batches."""

    def __init__(self, source: Any, inner: Iterator, num_batches: int) -> None:
        super().__init__(source)
        self._inner = inner
        self._num_batches = num_batches
        self._num_taken = 0

    def __next__(self) -> Any:
        if self._num_taken >= self._num_batches:
            raise StopIteration
        batch = next(self._inner)
        self._num_taken += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        return {"num_taken": self._num_taken, "inner": self._inner.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        check_state(state, {"num_taken", "inner"}, self.source)
        self._inner.set_state(state["inner"])
        self._num_taken = state["num_taken"]

    def follow(self, get_state: Callable[[], Any]) -> bool:
        return self._inner.follow(get_state)

    def close(self) -> None:
        self._inner.close()

    @property
    def has_whole_batch(self) -> bool:
        return self._inner.has_whole_batch


class ListIterator(Iterator):
    """Batches that are kept in memory."""

    def __init__(self, source: Any, load: Callable[[], list[Any]]) -> None:
        super().__init__(source)
        self._load = load
        self._next_batch = 0

    def __next__(self) -> Any:
        batches = self._load()
        if self._next_batch >= len(batches):
            raise StopIteration
        self._next_batch += 1
        return batches[self._next_batch - 1]

    def get_state(self) -> dict[str, Any]:
        return {"next_batch": self._next_batch}

    def set_state(self, state: dict[str, Any]) -> None:
        check_state(state, {"next_batch"}, self.source)
        self._next_batch = state["next_batch"]


class PrefetchIterator(Iterator):
    """Loads batches in a thread, ahead of their use.

    The state is that of the batches handed out; those loaded ahead do not count.
    """

    def __init__(self, source: Any, inner: Iterator, buffer_size: int) -> None:
        super().__init__(source)
        self._inner = inner
        self._buffer_size = buffer_size
        self._state = inner.get_state()
        self._whole = False
        self._loader: _Loader | None = None

    def __next__(self) -> Any:
        if self._loader is None:
            self._loader = _Loader(self._inner, self._buffer_size)
        batch, self._state, self._whole = self._loader.next()
        return batch

    def get_state(self) -> dict[str, Any]:
        return self._state

    def set_state(self, state: dict[str, Any]) -> None:
        self._stop()
        self._inner.set_state(state)
        self._state = state

    def follow(self, get_state: Callable[[], Any]) -> bool:
        if self._inner.follow(get_state):
            raise _errors.DataError(
                "`.prefetch()` loads batches before their step, and these depend on the "
                "state that their step begins with: leave it out."
            )
        return False

    def close(self) -> None:
        self._stop()
        self._inner.close()

    @property
    def has_whole_batch(self) -> bool:
        return self._whole

    def _stop(self) -> None:
        if self._loader is not None:
            self._loader.stop()
            self._loader = None

    def __del__(self) -> None:
        self._stop()


class _Loader:
    """A thread that loads from an iterator."""

    def __init__(self, inner: Iterator, buffer_size: int) -> None:
        self._slots = threading.Semaphore(buffer_size)
        self._loaded: queue.SimpleQueue = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._end: BaseException | None = None
        self._thread = threading.Thread(
            target=_load,
            args=(inner, self._slots, self._loaded, self._stopping),
            name="kauldron-data-prefetch",
            daemon=True,
        )
        self._thread.start()

    def next(self) -> Any:
        if self._end is not None:
            raise self._end
        loaded, end = self._loaded.get()
        if end is not None:
            self._end = end
            raise end
        self._slots.release()
        return loaded

    def stop(self) -> None:
        self._stopping.set()
        self._slots.release()
        if self._thread is not threading.current_thread():
            self._thread.join()  # the inner iterator may be used by one thread only


def _load(
    inner: Iterator,
    slots: threading.Semaphore,
    loaded: queue.SimpleQueue,
    stopping: threading.Event,
) -> None:
    _thread_turns.in_this_thread()
    while True:
        slots.acquire()
        if stopping.is_set():
            return
        try:
            batch = next(inner)
            loaded.put(((batch, inner.get_state(), inner.has_whole_batch), None))
        except BaseException as end:
            loaded.put((None, end))
            return


class NonCheckpointableIterator(Iterator):
    """Wraps any iterator; its position cannot be saved."""

    def __init__(self, source: Any, inner: Any) -> None:
        super().__init__(source)
        self._inner = iter(inner)

    def __next__(self) -> Any:
        return next(self._inner)

    def get_state(self) -> dict[str, Any]:
        return {"not_checkpointable": type(self.source).__name__}

    def set_state(self, state: dict[str, Any]) -> None:
        raise _errors.IteratorStateError(
            f"`{type(self.source).__name__}` is a stream: its position cannot be "
            "restored, and starting again would repeat data. Use a data source with "
            "random access, such as `kd.data.py.DataSource`, or start a new workdir."
        )


class PyGrainIterator(Iterator):
    """Wraps an iterator of grain, whose position can be saved.

    Args:
      source: The dataset.
      iter: What grain's `iter(dataset)` returned.
    """

    def __init__(self, source: Any, iter: Any) -> None:
        super().__init__(source)
        self.iter = iter

    def __next__(self) -> Any:
        return next(self.iter)

    def get_state(self) -> dict[str, Any]:
        return self.iter.get_state()

    def set_state(self, state: dict[str, Any]) -> None:
        self.iter.set_state(state)

    def close(self) -> None:
        if hasattr(self.iter, "close"):
            self.iter.close()


class TFDataIterator(Iterator):
    """Not available: it needs TensorFlow. Iterators here save their position anyway."""

    def __init__(self, source: Any = None, **fields: Any) -> None:
        del source, fields
        raise _errors.DataError(
            "`kd.data.iters.TFDataIterator` iterates a `tf.data.Dataset`, which needs "
            "TensorFlow. Iterate a `kd.data.py` or `kd.data.tf` pipeline: its position "
            "can be saved."
        )

    def __next__(self) -> Any:
        raise StopIteration

    def get_state(self) -> dict[str, Any]:
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        del state


def check_state(state: Any, keys: set[str], source: Any) -> None:
    """Raises `IteratorStateError` unless the state has exactly these keys."""
    if not isinstance(state, Mapping) or set(state) != keys:
        seen = sorted(state) if isinstance(state, Mapping) else state
        raise _errors.IteratorStateError(
            f"The saved position {seen!r} does not belong to a "
            f"`{type(source).__name__}`, whose positions have {sorted(keys)}. Was the "
            "dataset of the config changed? Use a new workdir."
        )
