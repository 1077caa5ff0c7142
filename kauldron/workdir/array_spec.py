"""Array specs: shape and dtype, printed as `u8[32 28 28 1]`."""

from __future__ import annotations

from etils import enp

from kauldron import kontext


class ArraySpec(enp.ArraySpec):
    """An `enp.ArraySpec`, and equal to one, which says `u8` where that says `ui8`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return kontext.format_spec(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, enp.ArraySpec):
            return NotImplemented
        return (self.shape, self.dtype) == (other.shape, other.dtype)

    def __hash__(self) -> int:
        return super().__hash__()
