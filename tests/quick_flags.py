"""Flags of XLA with which small programs compile in a fraction of the time, on a CPU."""

from __future__ import annotations

import importlib.metadata


def of_xla() -> str:
    """Returns flags that the installed XLA knows: one it does not know ends the process."""
    # One module of LLVM a program instead of dozens, which small programs do not fill.
    found = "--xla_cpu_parallel_codegen_split_count=1"
    numbers = importlib.metadata.version("jaxlib").split(".")[:3]
    if tuple(map(int, numbers)) < (0, 11, 1):
        # Loops are written without MLIR.
        found += " --xla_cpu_use_fusion_emitters=false"
    return found
