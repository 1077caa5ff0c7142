"""Whether a JSON value fits a JSON schema: what the arguments of a tool call are checked by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

_MAX_DEPTH = 100
_TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
    "integer": lambda v: (
        (isinstance(v, int) and not isinstance(v, bool))
        or (isinstance(v, float) and v.is_integer())
    ),
}
# Keyword -> what a value of a kind has to be, and what is said if it isn't.
_LIMITS: dict[str, tuple[str, Callable[[Any, Any], bool], str]] = {
    "minimum": ("number", lambda v, k: v >= k, "is less than"),
    "maximum": ("number", lambda v, k: v <= k, "is more than"),
    "exclusiveMinimum": ("number", lambda v, k: v > k, "is not more than"),
    "exclusiveMaximum": ("number", lambda v, k: v < k, "is not less than"),
    "minLength": ("string", lambda v, k: len(v) >= k, "is shorter than"),
    "maxLength": ("string", lambda v, k: len(v) <= k, "is longer than"),
    "minItems": ("array", lambda v, k: len(v) >= k, "has fewer items than"),
    "maxItems": ("array", lambda v, k: len(v) <= k, "has more items than"),
    "minProperties": ("object", lambda v, k: len(v) >= k, "has fewer fields than"),
    "maxProperties": ("object", lambda v, k: len(v) <= k, "has more fields than"),
}


def problem(value: Any, schema: Any, root: Any = None, where: str = "value") -> str:
    """Returns why a value does not fit a schema; "" if it does.

    Expressions (`pattern`) and formats are not looked at: they are programs of a client, and
    some would run for ever. Nor are `not`, `if`, `dependentSchemas` and `unevaluated*`.

    Args:
      value: What JSON knows.
      schema: Draft 2020-12, or older.
      root: The schema that `$ref` begins at; `schema` itself unless given.
      where: What the value is called.
    """
    return _problem(value, schema, schema if root is None else root, where, 0)


def _problem(value: Any, schema: Any, root: Any, where: str, depth: int) -> str:
    if schema is False:
        return f"{where} is not allowed"
    if not isinstance(schema, Mapping):
        return ""
    if depth > _MAX_DEPTH:
        return f"{where} is nested too deeply"
    if "$ref" in schema:
        target = _target(schema["$ref"], root)
        if found := _problem(value, target, root, where, depth + 1):
            return found
    return (
        _wrong_kind(value, schema, where)
        or _wrong_size(value, schema, where)
        or _wrong_choice(value, schema, root, where, depth)
        or _wrong_part(value, schema, root, where, depth)
    )


def _target(ref: object, root: Any) -> Any:
    """Returns what `#/$defs/name` stands for; what cannot be found allows nothing."""
    found = root
    if not isinstance(ref, str) or not ref.startswith("#"):
        return False
    for part in filter(None, ref[1:].split("/")):
        name = part.replace("~1", "/").replace("~0", "~")
        if not isinstance(found, Mapping) or name not in found:
            return False
        found = found[name]
    return found


def _wrong_kind(value: Any, schema: Mapping[str, Any], where: str) -> str:
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(k in _TYPES and _TYPES[k](value) for k in kinds):
        return f"{where} is not of type {' or '.join(map(str, kinds))}"
    if "const" in schema and not _equal(value, schema["const"]):
        return f"{where} is not {schema['const']!r}"
    if "enum" in schema and not any(_equal(value, e) for e in schema["enum"]):
        return f"{where} is none of {schema['enum']!r}"
    return ""


def _equal(a: Any, b: Any) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _wrong_size(value: Any, schema: Mapping[str, Any], where: str) -> str:
    for keyword, (kind, fits, says) in _LIMITS.items():
        limit = schema.get(keyword)
        is_limit = isinstance(limit, int | float) and not isinstance(limit, bool)
        if is_limit and _TYPES[kind](value) and not fits(value, limit):
            return f"{where} {says} {limit}"
    return ""


def _wrong_choice(
    value: Any, schema: Mapping[str, Any], root: Any, where: str, depth: int
) -> str:
    for part in _list(schema.get("allOf")):
        if found := _problem(value, part, root, where, depth + 1):
            return found
    for keyword in ("anyOf", "oneOf"):
        parts = _list(schema.get(keyword))
        found = [_problem(value, part, root, where, depth + 1) for part in parts]
        num_fits = found.count("")
        if parts and not num_fits:
            return found[0] if len(found) == 1 else f"{where} fits none of {keyword}"
        if keyword == "oneOf" and num_fits > 1:
            return f"{where} fits several of oneOf"
    return ""


def _wrong_part(
    value: Any, schema: Mapping[str, Any], root: Any, where: str, depth: int
) -> str:
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        for name in _list(schema.get("required")):
            if name not in value:
                return f"{where}.{name} is missing"
        others = schema.get("additionalProperties", True)
        parts = {
            f"{where}.{name}": (item, properties.get(name, others))
            for name, item in value.items()
        }
    elif isinstance(value, list):
        first = _list(schema.get("prefixItems"))
        others = schema.get("items", True)
        parts = {
            f"{where}[{i}]": (item, first[i] if i < len(first) else others)
            for i, item in enumerate(value)
        }
    else:
        return ""
    for path, (item, of_item) in parts.items():
        if found := _problem(item, of_item, root, path, depth + 1):
            return found
    return ""


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else ()
