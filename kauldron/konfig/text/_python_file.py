"""`konfig.to_python`: a config as the Python file a user would have written."""

from __future__ import annotations

from typing import Any

from kauldron.konfig.names import _qualname
from kauldron.konfig.text import _expressions, _import_block
from kauldron.konfig.tree import (
    _brackets,
    _config_dict,
    _default_values,
    _nodes,
    _walk,
)

_INDENT = "    "


def to_python(cfg: Any) -> str:
    """Returns a Python config file whose `get_config()` returns an equal config.

    Shared nodes become variables, references stay references if they are expressions of
    fields; otherwise their value is written.

    Args:
      cfg: A config, or nested dicts as read from JSON.

    Returns:
      The text of the file.

    Example:

    ```python
    from kauldron import konfig

    text = konfig.to_python(konfig.ConfigDict({"seed": 1}))
    assert 'cfg = konfig.ConfigDict({"seed": 1})' in text
    ```
    """
    cfg = _config_dict.as_config(cfg)
    names = _import_block.Names(_qualnames(cfg))
    body = _Writer(cfg, names).write()
    lines = ["from kauldron import konfig"]
    if "pathlib." in body:
        lines.insert(0, "import pathlib\n")
    block = names.to_text()
    function = f"def get_config():\n{body}"
    return "\n".join(lines) + "\n\n" + (f"{block}\n\n\n" if block else "\n") + function


def _qualnames(cfg: Any) -> list[str]:
    """Returns every name that the config mentions, in order."""
    found: dict[str, None] = {}
    for node in _walk.iter_nodes(cfg, _nodes.peek):
        for key in (_qualname.QUALNAME, _qualname.CONST):
            if isinstance(name := node._fields.get(key), str):
                found.setdefault(name)
    return list(found)


class _Writer:
    """Writes the body of `get_config()`."""

    def __init__(self, cfg: Any, names: _import_block.Names):
        self.cfg = cfg
        self.expressions = _expressions.Expressions(cfg, names, self.name_of)
        self.shared = _walk.find_shared(cfg, self.written_value)
        self.variables: dict[int, str] = {id(cfg): "cfg"}
        self.taken = {"cfg", "konfig", "pathlib", *names.variables}
        self.active: set[int] = set()
        self.lines: list[str] = []
        self.fixups: list[
            tuple[str, _brackets.Doc]
        ] = []  # assignments that close cycles

    def write(self) -> str:
        self.write_root()
        for target, doc in self.fixups:
            self.assign(target, doc)
        self.lines.append("return cfg")
        return "".join(f"{_INDENT}{line}\n" for line in self.lines)

    def assign(self, target: str, doc: _brackets.Doc) -> None:
        line = _brackets.prefixed(f"{target} = ", doc)
        self.lines.append(_brackets.render(line, indent=len(_INDENT)))

    def write_root(self) -> None:
        """Writes `cfg = Trainer(seed=1)`, then one assignment per nested field."""
        cfg = self.cfg
        self.active.add(id(cfg))
        if not isinstance(cfg, _config_dict.ConfigDict):
            self.assign("cfg", self.expressions.of(cfg))
            return
        fields = _expressions.fields_to_write(cfg)
        is_call = _qualname.QUALNAME in cfg._fields
        num_args = _nodes.num_positional(cfg) if is_call else 0
        positional = {str(i) for i in range(num_args)}
        at_once, later = {}, {}
        for key, value in fields.items():
            # Only the first scalars: the order of the fields is kept.
            is_early = (
                not later
                and _is_scalar(value)
                and not self.expressions.is_reference(value)
            )
            (at_once if is_early or key in positional else later)[key] = value
        if _qualname.CONST in cfg._fields:
            at_once, later = fields, {}
        self.assign("cfg", self.expressions.constructor(cfg, at_once, is_named=True))
        self.delete_defaults(cfg, "cfg")
        for key, value in later.items():
            target = _target("cfg", key)
            if self.is_unwritten_shared(value):
                self.write_shared(value, target)
            else:
                self.assign(target, self.expressions.of(value))

    def is_unwritten_shared(self, value: Any) -> bool:
        is_node = isinstance(value, _config_dict.ConfigDict)
        return is_node and id(value) in self.shared and id(value) not in self.variables

    def name_of(self, node: Any) -> str | None:
        """Returns the variable that holds a node, written if it is not; `None` if none."""
        if id(node) in self.variables:
            return self.variables[id(node)]
        has_name = id(node) in self.shared or self.missing_defaults(node)
        if not has_name or _qualname.CONST in node._fields:
            return None
        name = self.new_name(node)
        self.write_shared(node, name)
        return name

    def write_shared(self, node: Any, name: str) -> None:
        """Writes `name = <node>`; from then on, the node is called so."""
        self.active.add(id(node))
        self.variables[id(node)] = name
        fields = _expressions.fields_to_write(node)
        at_once: dict[Any, Any] = {}
        later: dict[Any, Any] = {}
        for key, value in fields.items():
            (later if self.reaches_active(value) else at_once)[key] = value
        is_named = name.isidentifier()  # what is assigned to a field becomes a node
        doc = self.expressions.constructor(node, at_once, is_named=is_named)
        self.assign(name, doc)
        self.delete_defaults(node, name)
        for key, value in later.items():
            self.fixups.append((_target(name, key), self.expressions.of(value)))
        self.active.discard(id(node))

    def reaches_active(self, value: Any) -> bool:
        """Returns whether a value holds a node that is not written yet: a cycle."""

        def read(value: Any) -> Any:
            value = self.written_value(value)
            return None if value is self.cfg else value

        return any(id(node) in self.active for node in _walk.iter_nodes(value, read))

    def written_value(self, value: Any) -> Any:
        """Returns what is written for a value: a reference, or what it refers to."""
        return value if self.expressions.is_reference(value) else _nodes.peek(value)

    def new_name(self, node: Any) -> str:
        base = _import_block.to_variable(
            str(node._fields.get(_qualname.QUALNAME, "shared")).rpartition(".")[2]
        )
        name, i = base, 1
        while name in self.taken:
            i += 1
            name = f"{base}_{i}"
        self.taken.add(name)
        return name

    def missing_defaults(self, node: Any) -> list[Any]:
        defaults = _default_values.get(node)
        return [key for key in defaults if key not in node._fields]

    def delete_defaults(self, node: Any, name: str) -> None:
        for key in self.missing_defaults(node):
            self.lines.append(f"del {_target(name, key)}")


def _is_scalar(value: Any) -> bool:
    return not isinstance(value, _config_dict.ConfigDict | list | tuple)


def _target(variable: str, key: Any) -> str:
    if _nodes.is_argument_name(key) and not hasattr(_config_dict.ConfigDict, key):
        return f"{variable}.{key}"
    return f"{variable}[{_expressions.scalar_text(key)}]"
