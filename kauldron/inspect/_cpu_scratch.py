"""Memory that convolutions of the CPU backend take beside what the compiler plans.

They unfold their input: each place of the output has the patch that it is computed from
in a row of its own (im2col), so that one matrix product is left to do. XLA's plan of the
program's buffers does not have it.
"""

from __future__ import annotations

import math
import re

_RESULT = re.compile(r"^\s*(?:ROOT )?%?([\w.-]+) = ([a-z]+)(\d*)\w*\[([\d,]*)\]")
_CONVOLUTION = re.compile(
    r" convolution\(%?(?:[\w.-]+), %?([\w.-]+)\), window=\{size=([\dx]+)([^}]*)\}, "
    r"dim_labels=\w+_(\w+)->(\w+)"
)


def largest_convolution(hlo: str) -> int:
    """Returns the bytes that the largest unfolded input of a convolution takes.

    Those with gaps in their input (transposed convolutions) are computed otherwise.

    Args:
      hlo: Text of the optimized program.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    most = 0
    for line in hlo.splitlines():
        result = _RESULT.match(line)
        if result is None:
            continue
        shape = tuple(int(n) for n in result[4].split(",") if n)
        shapes[result[1]] = shape
        found = _CONVOLUTION.search(line)
        if found is None or "lhs_dilate" in found[3] or found[1] not in shapes:
            continue
        kernel, window, output = shapes[found[1]], found[2].split("x"), found[5]
        places = math.prod(
            n for n, label in zip(shape, output, strict=True) if label != "f"
        )
        patch = math.prod(map(int, window)) * kernel[found[4].index("i")]
        itemsize = int(result[3] or 8) // 8
        most = max(most, places * patch * itemsize)
    return most
