"""Pictures: what `kd.inspect` draws, and how arrays are written in them."""

from __future__ import annotations

import dataclasses
import errno
import os
import pathlib
from typing import Any

from kauldron._base import errors


class PictureError(errors.UserError, ValueError):
    """A picture that cannot be written as asked for."""


class PictureFileError(errors.Failure):
    """A picture that could not be written."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A drawing: notebooks show it, `save` writes it.

    Attributes:
      svg: Text of the SVG document.
    """

    svg: str

    def _repr_svg_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return (
            f"<Picture: {len(self.svg)} characters of SVG; `.save('x.svg')` writes it>"
        )

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Writes an `.svg` file.

        Raises:
          PictureError: A `ValueError`: the suffix is another, or there is no such folder.
          PictureFileError: The file cannot be written.
        """
        target = pathlib.Path(path)
        if target.suffix.lower() != ".svg":
            raise PictureError(
                f"Pictures are written as .svg: got {str(target)!r}. Browsers and "
                "editors show SVG, and save it as PNG or PDF."
            )
        if not target.parent.exists():
            raise PictureError(
                f"There is no folder {str(target.parent)!r} for {target.name!r}: create it, "
                "or name another."
            )
        try:
            target.write_text(self.svg, "utf-8")
        except OSError as e:
            reason = os.strerror(e.errno or errno.EIO)
            raise PictureFileError(
                f"The picture could not be written to {str(target)!r}: {reason}."
            ) from e
        return target


def plural(number: int, word: str) -> str:
    """Returns `1 parameter` or `1,024 parameters`."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def to_lines(name: str, tree: Any, *, limit: int = 4) -> list[str]:
    """Returns a line for each array of a tree: `f32[2 3]`, or `mean f32[2 3]`."""
    from kauldron import kontext

    if not isinstance(tree, dict | list | tuple):
        return [kontext.format_spec(tree) or type(tree).__name__]
    found = kontext.flatten_with_path(tree)
    lines = [f"{name}{path} {kontext.format_spec(x)}" for path, x in found.items()]
    if len(lines) > limit:
        return [*lines[: limit - 1], f"and {len(lines) - limit + 1} more"]
    return lines
