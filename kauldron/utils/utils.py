"""Published import path of small utilities: counting loops, JSON, checkify."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from typing import Any, TypeVar

_T = TypeVar("_T")


def enum_iter(
    iter: Iterable[_T],
    *,
    init_step: int = 0,
    total_steps: int | None = None,
    desc: str = "",
    log_xm: bool = False,
    **tqdm_kwargs: Any,
) -> Iterator[tuple[int, _T]]:
    """Enumerates, with a progress bar on a terminal (and nothing elsewhere).

    Args:
      iter: What to go through, to its end.
      init_step: Number of the first item.
      total_steps: Number after the last item, for the bar; `len(iter)` more than
        `init_step` unless given, where there is a length.
      desc: Shown beside the bar.
      log_xm: Accepted; there is no XManager to log to.
      **tqdm_kwargs: Those of tqdm. `disable=True` shows no bar; the others change
        nothing.

    Yields:
      Number and item.

    Example:

    ```python
    assert list(enum_iter("ab", init_step=3)) == [(3, "a"), (4, "b")]
    ```
    """
    del log_xm
    if total_steps is None and isinstance(iter, Sized):
        total_steps = init_step + len(iter)
    if tqdm_kwargs.get("disable") or not sys.stderr.isatty():
        yield from enumerate(iter, init_step)
        return
    from rich import console, progress

    columns = [*progress.Progress.get_default_columns(), progress.MofNCompleteColumn()]
    shown = console.Console(stderr=True)
    with progress.Progress(*columns, console=shown, transient=True) as bar:
        task = bar.add_task(desc, total=total_steps, completed=init_step)
        for i, item in enumerate(iter, init_step):
            yield i, item
            bar.update(task, completed=i + 1)


def json_list_to_tuple(value: object) -> Any:
    """Returns what was read from JSON with its lists as tuples, in dicts too."""
    if isinstance(value, list | tuple):
        return tuple(map(json_list_to_tuple, value))
    if isinstance(value, Mapping):
        return {key: json_list_to_tuple(item) for key, item in value.items()}
    return value


def checkify_ignore(func: Callable[..., _T]) -> Callable[..., _T]:
    """Returns a function in which `checkify.check` checks nothing.

    A checked function cannot be traced by `jax.jit` alone, nor by `jax.eval_shape`;
    what this returns can. What the checks would have found is dropped.
    """

    @functools.wraps(func)
    def unchecked(*args: Any, **kwargs: Any) -> _T:
        from jax.experimental import checkify

        _, result = checkify.checkify(func)(*args, **kwargs)
        return result

    return unchecked
