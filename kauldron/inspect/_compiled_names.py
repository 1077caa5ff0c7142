"""What the operations of a compiled program were in the program before: HLO text, read."""

from __future__ import annotations

import collections
import re
from collections.abc import Mapping

_MODULE = re.compile(r"HloModule ([^\s,]+)")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(ROOT )?%?([\w.\-]+) = .*?[\])}] ([a-z][\w\-]*)\(")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_CALLS = re.compile(r"(?:calls|to_apply|body)=%?([\w.\-]+)")


class Names:
    """Reads the names of operations.

    Attributes:
      module: Name of the program.
    """

    def __init__(
        self,
        module: str,
        kinds: Mapping[str, str],
        op_names: Mapping[str, str],
    ) -> None:
        self.module = module
        self._kinds = kinds
        self._op_names = op_names

    @classmethod
    def of(cls, text: str) -> Names:
        """Reads the text of a compiled program."""
        match = _MODULE.search(text)
        kinds: dict[str, str] = {}
        own: dict[str, str] = {}
        called: dict[str, str] = {}
        inside: dict[str, list[str]] = collections.defaultdict(list)
        roots: dict[str, str] = {}
        computation = ""
        for line in text.splitlines():
            if found := _COMPUTATION.match(line):
                computation = found[1]
            if not (found := _INSTRUCTION.match(line)):
                continue
            is_root, name, kinds[found[2]] = found.groups()
            if op_name := _OP_NAME.search(line):
                own[name] = op_name[1]
                inside[computation].append(op_name[1])
                if is_root:
                    roots[computation] = op_name[1]
            if call := _CALLS.search(line):
                called[name] = call[1]
        for name, computation in called.items():
            # What a fusion is of, its result says best.
            names = [own.get(name, ""), roots.get(computation, "")]
            names += sorted(inside[computation], key=len, reverse=True)
            own[name] = max(names[:2], key=_depth) or (names[2:] or [""])[0]
        return cls(match[1] if match else "", kinds, own)

    def kind_of(self, operation: str) -> str:
        """Returns what kind of instruction it is, such as `fusion`."""
        return self._kinds.get(operation, "")

    def scope_of(self, operation: str) -> str:
        """Returns the scopes of the program before that it comes from; may be empty."""
        return self._op_names.get(operation, "")

    def primitive_of(self, operation: str) -> str:
        """Returns the operation of the program before, such as `dot_general`."""
        return self.scope_of(operation).rsplit("/", 1)[-1]


def _depth(op_name: str) -> int:
    return op_name.count("/") if op_name else -1
