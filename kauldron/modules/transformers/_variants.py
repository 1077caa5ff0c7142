"""Sizes of vision transformers by name, such as `ViT-B/16`."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from kauldron._base import errors


class VariantError(errors.UserError, ValueError):
    """There is no vision transformer of that name."""


class _Size(NamedTuple):
    hidden_size: int
    num_layers: int
    mlp_size: int
    num_heads: int


# Zhai et al. 2022, Scaling Vision Transformers, table 2 (arXiv:2106.04560); mu and M are of
# the `big_vision` code base.
_SIZES = {
    "mu": _Size(32, 1, 128, 2),
    "Ti": _Size(192, 12, 768, 3),
    "S": _Size(384, 12, 1536, 6),
    "M": _Size(512, 12, 2048, 8),
    "B": _Size(768, 12, 3072, 12),
    "L": _Size(1024, 24, 4096, 16),
    "H": _Size(1280, 32, 5120, 16),
    "g": _Size(1408, 40, 6144, 16),
    "G": _Size(1664, 48, 8192, 16),
    "e": _Size(1792, 56, 15360, 16),
}

_PATTERN = re.compile(r"(?:vit[-_])?([a-z]{1,2})(?:/(\d+))?", re.IGNORECASE)


def spec_of(variant: str) -> dict[str, Any]:
    """Returns the arguments of `VitEncoder.from_spec` that a name stands for.

    Args:
      variant: Such as `'ViT-B/16'`, `'vit_S/8'`, `'Ti/4'`, or `'B'` without a patch size.

    Raises:
      VariantError: If there is no such size, with the nearest name.
    """
    match = _PATTERN.fullmatch(variant)
    if match is None or match[1] not in _SIZES or match[2] == "0":
        raise VariantError(
            f"There is no vision transformer {variant!r}.{_hint(variant)} A name is a size, "
            f"one of {list(_SIZES)} (g and G are two), and a patch size in pixels: "
            "'ViT-B/16'."
        )
    spec = _SIZES[match[1]]._asdict()
    if match[2] is not None:
        spec["patch_size"] = int(match[2])
    return spec


def _hint(variant: str) -> str:
    """Suggests a name with the same patch size."""
    name = re.sub(r"^(vit)?[-_]?", "", variant, flags=re.IGNORECASE)
    parts = re.match(r"([a-z]*)[^a-z0-9]*(\d*)", name, re.IGNORECASE)
    letters, patch = parts.groups() if parts else ("", "")
    same = [size for size in _SIZES if size.casefold() == letters.casefold()]
    near = same[:1] or errors.nearest(letters, _SIZES, n=1)
    near = near or [
        size for size in _SIZES if letters.casefold().startswith(size.casefold())
    ]
    if not near:
        return ""
    return f" Did you mean {f'ViT-{near[0]}/{patch or 16}'!r}?"
