"""The `with konfig.imports():` block that binds given names."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

from kauldron.konfig.names import _finder, _qualname

_RESERVED = ("cfg", "konfig", "pathlib", "get_config")


class Names:
    """How each name is written, and the imports that this needs.

    Every module is bound by an import statement of its own; modules within one another
    go to blocks of their own, because in one block, `import a` and `import a.b` make
    `a.b.f` a name in `a.b`.
    """

    def __init__(self, qualnames: Iterable[str]):
        self._modules: dict[str, str] = {}  # module -> variable
        self._attributes: dict[str, set[str]] = {}
        self._literal: set[str] = set()
        self._used: set[str] = set()
        for qualname in qualnames:
            self._add(qualname)

    @property
    def variables(self) -> list[str]:
        """The names that the imports bind."""
        return list(self._modules.values())

    def _add(self, qualname: str) -> None:
        module, colon, attribute = qualname.partition(":")
        names = [*module.split("."), *(attribute.split(".") if attribute else [])]
        is_written = all(n.isidentifier() and not keyword.iskeyword(n) for n in names)
        if not is_written or (colon and not attribute):
            self._literal.add(qualname)
            return
        self._attributes.setdefault(module, set()).add(attribute)
        if module not in self._modules:
            self._modules[module] = self._variable_for(module)

    def _variable_for(self, module: str) -> str:
        package, _, last = module.rpartition(".")
        wanted = _qualname.aliases.get(module) or last
        if not package and wanted == module and wanted not in _RESERVED:
            return wanted
        taken = {*self._modules.values(), *_RESERVED}
        name, i = wanted, 1
        while name in taken:
            i += 1
            name = f"{to_variable(module.replace('.', '_'))}{'' if i == 2 else f'_{i}'}"
        return name

    def expression(self, qualname: str, *, is_call: bool) -> str | None:
        """Returns the Python expression of a name; `None` if there is none."""
        if qualname in self._literal or (is_call and ":" not in qualname):
            return None
        module, _, attribute = qualname.partition(":")
        self._used.add(module)
        variable = self._modules[module]
        return f"{variable}.{attribute}" if attribute else variable

    def to_text(self) -> str:
        """Returns the blocks for the names asked for so far; may be empty."""
        eager: list[list[str]] = []
        lazy: list[list[str]] = []
        for module in sorted(self._used):
            blocks = eager if _finder.find(module) is None else lazy
            for block in blocks:
                if not any(self._interferes(module, other) for other in block):
                    block.append(module)
                    break
            else:
                blocks.append([module])
        texts = [self._block(block, "") for block in eager]
        texts += [self._block(block, "lazy=True") for block in lazy]
        return "\n\n".join(texts)

    def _interferes(self, a: str, b: str) -> bool:
        """Returns whether importing both would change what a name means."""
        short, long = sorted((a, b), key=len)
        if not long.startswith(f"{short}."):
            return False
        below = long[len(short) + 1 :]
        return any(
            f"{attribute}.".startswith(f"{below.partition('.')[0]}.")
            for attribute in self._attributes[short]
        )

    def _block(self, modules: list[str], arguments: str) -> str:
        lines = [self._statement(module) for module in modules]
        return f"with konfig.imports({arguments}):\n" + "\n".join(
            f"    {line}" for line in lines
        )

    def _statement(self, module: str) -> str:
        variable = self._modules[module]
        package, _, last = module.rpartition(".")
        if package:
            suffix = "" if variable == last else f" as {variable}"
            return f"from {package} import {last}{suffix}"
        return f"import {module}" + ("" if variable == module else f" as {variable}")


def to_variable(text: str) -> str:
    """Returns a name for a variable: `Trainer` gives `trainer`."""
    last = text.rpartition(":")[2]
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", last).lower()
    name = re.sub(r"\W", "_", snake).strip("_") or "shared"
    if name[0].isdigit():
        name = f"shared_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name
