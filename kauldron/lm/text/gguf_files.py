"""GGUF headers: metadata and where each tensor is, without reading the tensors.

A whole vocabulary is in the metadata, so strings are sliced out of the mapped file in
one pass; the `gguf` package makes several NumPy arrays of each.

Reference: GGUF specification, versions 2 and 3.
"""

from __future__ import annotations

import dataclasses
import math
import mmap
import pathlib
import struct
from collections.abc import Mapping
from typing import Any

from kauldron._base import errors

SUFFIX = ".gguf"
_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?"}
_NUMBERS |= {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MAX_AXES = 8

# Number of a type -> its name, numbers in a block, bytes of a block.
TYPES: Mapping[int, tuple[str, int, int]] = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    8: ("Q8_0", 32, 34),
    12: ("Q4_K", 256, 144),
    14: ("Q6_K", 256, 210),
    30: ("BF16", 1, 2),
}


class GgufError(errors.UserError, ValueError):
    """A GGUF file that cannot be read."""


@dataclasses.dataclass(frozen=True)
class GgufTensor:
    """Where a tensor is.

    Attributes:
      name: Of the tensor.
      type_number: Of its numbers, one of `TYPES`.
      shape: Rows first, as in NumPy; the file has the sizes in reverse.
      start: First byte in the file.
    """

    name: str
    type_number: int
    shape: tuple[int, ...]
    start: int

    @property
    def type_name(self) -> str:
        return TYPES[self.type_number][0]

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape in bytes: each row is a whole number of blocks."""
        _, block, num_bytes = TYPES[self.type_number]
        return (*self.shape[:-1], self.shape[-1] // block * num_bytes)

    @property
    def num_bytes(self) -> int:
        return math.prod(self.stored_shape)


@dataclasses.dataclass(frozen=True)
class GgufFile:
    """What the header of a GGUF file says.

    Attributes:
      path: Of the file.
      metadata: Key -> number, text, or list.
      tensors: Name -> where it is.
    """

    path: pathlib.Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, GgufTensor]

    @classmethod
    def open(cls, path: Any) -> GgufFile:
        """Reads the header; checks that all tensors are in the file.

        Raises:
          GgufError: If the file is no GGUF, is truncated, or has a type of numbers that
            is not known here.
        """
        path = pathlib.Path(path)
        try:
            with (
                path.open("rb") as file,
                mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
            ):
                return _Header(path, data).read()
        except FileNotFoundError:
            raise GgufError(f"There is no GGUF file {str(path)!r}.") from None
        except (OSError, ValueError) as e:
            if isinstance(e, GgufError):
                raise
            raise GgufError(f"{str(path)!r} cannot be read as GGUF: {e}.") from e

    def __getitem__(self, key: str) -> Any:
        """Returns a value of the metadata.

        Raises:
          GgufError: If there is none.
        """
        if key not in self.metadata:
            raise GgufError(
                f"The metadata of {str(self.path)!r} lack {key!r}."
                f"{errors.did_you_mean(key, self.metadata)}"
            )
        return self.metadata[key]


class _Header:
    """A place in a file that is read from start to end."""

    def __init__(self, path: pathlib.Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._at = 0
        self._reading = "the header"

    def read(self) -> GgufFile:
        if self._bytes(4) != _MAGIC:
            raise GgufError(
                f"{str(self._path)!r} is no GGUF file: it begins with "
                f"{self._data[:4]!r}, not with {_MAGIC!r}."
            )
        version = self._number("I")
        if version not in _VERSIONS:
            raise GgufError(
                f"{str(self._path)!r} has version {version} of GGUF, or the byte order "
                f"of another machine; known are {_VERSIONS}. Convert the model again."
            )
        num_tensors, num_values = self._number("Q"), self._number("Q")
        metadata: dict[str, Any] = {}
        for _ in range(num_values):
            key = self._string()
            self._reading = f"the metadata {key!r}"
            metadata[key] = self._value(self._number("I"))
        self._reading = "the list of tensors"
        entries = [self._entry() for _ in range(num_tensors)]
        alignment = metadata.get("general.alignment", 32)
        start = -(-self._at // alignment) * alignment
        tensors = {}
        for name, type_number, shape, offset in entries:
            tensor = GgufTensor(name, type_number, shape, start + offset)
            self._check(tensor)
            tensors[name] = tensor
        return GgufFile(self._path, metadata, tensors)

    def _entry(self) -> tuple[str, int, tuple[int, ...], int]:
        name = self._string()
        num_axes = self._number("I")
        if num_axes > _MAX_AXES:
            raise GgufError(
                f"{str(self._path)!r} is damaged: {name!r} has {num_axes} axes."
            )
        sizes = [self._number("Q") for _ in range(num_axes)]
        type_number, offset = self._number("I"), self._number("Q")
        return name, type_number, tuple(reversed(sizes)), offset

    def _check(self, tensor: GgufTensor) -> None:
        if tensor.type_number not in TYPES:
            known = ", ".join(name for name, _, _ in TYPES.values())
            raise GgufError(
                f"{tensor.name!r} of {str(self._path)!r} has the type of numbers "
                f"{tensor.type_number} of GGML; known are {known}. Quantise the model "
                "to one of these."
            )
        block = TYPES[tensor.type_number][1]
        if not tensor.shape or tensor.shape[-1] % block:
            raise GgufError(
                f"{str(self._path)!r} is damaged: rows of {tensor.name!r}, "
                f"{tensor.shape}, are no whole blocks of {tensor.type_name} ({block})."
            )
        end = tensor.start + tensor.num_bytes
        if end > len(self._data):
            raise GgufError(
                f"{str(self._path)!r} is truncated: {tensor.name!r} ends at byte {end}, "
                f"and the file has {len(self._data)}. Get it again."
            )

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._string()
        if kind in _NUMBERS:
            return self._number(_NUMBERS[kind])
        if kind != _ARRAY:
            raise GgufError(
                f"{str(self._path)!r} is damaged: {self._reading} has the kind {kind}."
            )
        kind, length = self._number("I"), self._number("Q")
        if kind in _NUMBERS:
            return list(self._numbers(_NUMBERS[kind], length))
        if kind == _STRING:
            return self._strings(length)
        return [self._value(kind) for _ in range(length)]

    def _string(self) -> str:
        return self._bytes(self._number("Q")).decode("utf-8", "surrogateescape")

    def _strings(self, length: int) -> list[str]:
        # Without a call for each: vocabularies have a hundred thousand.
        data, start, size, found = self._data, self._at, len(self._data), []
        for _ in range(length):
            end = start + 8
            end += int.from_bytes(data[start:end], "little")
            if end > size:
                break
            found.append(data[start + 8 : end].decode("utf-8", "surrogateescape"))
            start = end
        self._at = start
        # The one that is cut off says so.
        return found if len(found) == length else [*found, self._string()]

    def _number(self, code: str) -> Any:
        return self._numbers(code, 1)[0]

    def _numbers(self, code: str, length: int) -> tuple[Any, ...]:
        # A length that no file has must not ask for so much memory.
        content = self._bytes(struct.calcsize(f"<{code}") * length)
        return struct.unpack(f"<{length}{code}", content)

    def _bytes(self, length: int) -> bytes:
        end = self._at + length
        if end > len(self._data):
            raise GgufError(
                f"{str(self._path)!r} is truncated: it ends within {self._reading}, at "
                f"byte {len(self._data)}. Get it again."
            )
        content = self._data[self._at : end]
        self._at = end
        return content
