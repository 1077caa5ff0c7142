"""What the C library does with memory that was freed."""

from __future__ import annotations

import os

# Of `mallopt`, from glibc's malloc.h.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_KEPT = 256 << 20  # a block beyond that goes back; its step takes long anyway


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory for the next use; returns whether it does so now.

    XLA allocates the temporaries of a program on the CPU anew in each call. By default
    glibc maps blocks as large as these and unmaps them again, so the kernel clears every
    page of them in every step: a quarter of the processor time of a small vision
    transformer. Here blocks below 256 MiB come from one heap, which is not given back.

    Call it in programs, not in libraries: it holds for the whole process. Whoever sets
    `MALLOC_...`, `GLIBC_TUNABLES` or another allocator by `LD_PRELOAD` has chosen already,
    and is left alone; so is every other C library, such as macOS's.
    """
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names or _is_chosen():
        return False
    import ctypes

    mallopt = ctypes.CDLL(None).mallopt
    return all(
        mallopt(option, value) == 1
        for option, value in (
            (_ARENA_MAX, 1),
            (_MMAP_THRESHOLD, _LARGEST_KEPT),
            (_TRIM_THRESHOLD, _LARGEST_KEPT),
        )
    )


def _is_chosen() -> bool:
    return any(
        name.startswith("MALLOC_") or name in ("GLIBC_TUNABLES", "LD_PRELOAD")
        for name, value in os.environ.items()
        if value
    )
