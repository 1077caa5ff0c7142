"""Freed memory is kept for the next use, unless the user has chosen otherwise."""

import os
import platform
import subprocess
import sys

import pytest

# Touches 64 MB again and again; tells how many pages the kernel had to bring in.
_PROGRAM = """
import resource, sys
from kauldron._base import allocator

is_kept = allocator.keep_freed_memory()
bytearray(64 << 20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    bytearray(b"x") * (64 << 20)
print(is_kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
_NUM_PAGES = 4 * (64 << 20) // os.sysconf("SC_PAGESIZE")


def _run(**environment: str) -> tuple[str, int]:
    output = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")},
            **environment,
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    return output[0], int(output[1])


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_that_was_freed_costs_no_page_faults_when_it_is_used_again():
    is_kept, faults = _run(LD_PRELOAD="", GLIBC_TUNABLES="")
    assert is_kept == "True"
    assert faults < _NUM_PAGES / 10


def test_whoever_has_set_up_the_allocator_is_left_alone():
    is_kept, _ = _run(MALLOC_MMAP_THRESHOLD_="131072")
    assert is_kept == "False"
