"""Parsing of override text for a particular field."""

from __future__ import annotations

from typing import Any

from kauldron.konfig.flags import _coercion
from kauldron.konfig.names import _annotations, _qualname
from kauldron.konfig.text import _literals
from kauldron.konfig.tree import (
    _call_targets,
    _config_dict,
    _nodes,
    _placeholder,
    _reference,
    _values,
)


def read(text: str, raw: Any, node: Any, key: Any) -> Any:
    """Returns the value that a text stands for in a field.

    Args:
      text: Of the command line.
      raw: What the field holds, references kept; `None` if it is not there.
      node: The node of the field.
      key: Its key.

    Raises:
      Mismatch: If the text does not fit the field.
    """
    if isinstance(raw, _placeholder.Placeholder) and raw.get_type() is not object:
        return _coercion.to_scalar(raw.get_type(), text)
    current = raw
    if isinstance(raw, _reference.FieldReference):
        current = _nodes.peek(raw)
        if isinstance(current, _reference.FieldReference):
            current = None
        if _is_computed_node(raw, current):
            return _instead_of_computed_node(text, node, key)
    if current is None:
        return _without_current(text, node, key)
    annotation = _call_targets.annotation_of(node, key)
    if isinstance(current, str) and annotation is not None and _is_container(text):
        # Such as `[(1, 1)]` for `padding="SAME"`.
        return _coercion.to_annotation(annotation, text)
    is_certain = annotation is not None and _annotations.is_certain(annotation)
    if isinstance(current, list | tuple):
        return _instead_of_list(current, text, annotation if is_certain else None)
    try:
        return _coercion.to_type_of(current, text)
    except _coercion.Mismatch:
        # The declaration may allow more than the type of what is there.
        if is_certain:
            return _coercion.to_annotation(annotation, text)
        if annotation is None or not isinstance(current, _config_dict.ConfigDict):
            raise
        # Such as a number in place of a schedule, where `float | Schedule` is declared.
        scalar = _coercion.to_declared_scalar(annotation, text)
        if scalar is None:
            raise
        return scalar


def _is_container(text: str) -> bool:
    return isinstance(_literals.parse(text), list | tuple | dict)


def _instead_of_list(current: Any, text: str, annotation: Any) -> Any:
    """For a list or tuple: it stays one, and the annotation knows its items."""
    if annotation is None or not isinstance(_literals.parse(text), list | tuple):
        return _coercion.to_type_of(current, text)
    value = _coercion.to_annotation(annotation, text)
    return type(current)(value) if isinstance(value, list | tuple) else value


def _without_current(text: str, node: Any, key: Any) -> Any:
    """For a field that is not there, or is `None`: its declaration decides."""
    annotation = _call_targets.annotation_of(node, key)
    if annotation is not None and _annotations.is_certain(annotation):
        return _coercion.to_annotation(annotation, text)
    untyped = _coercion.to_untyped(text)
    if annotation is None:
        return untyped
    value = _coercion.to_annotation(annotation, text)
    if isinstance(value, str) and _is_number_by_default(annotation, node, key):
        raise _coercion.Mismatch("a number")
    return value


def _is_number_by_default(annotation: Any, node: Any, key: Any) -> bool:
    """Returns whether an argument's default is a number, and text is not mentioned.

    Such as `alpha: ArrayLike = 0.0`, a union of number and array types.
    """
    signature = _call_targets.signature_of(node)
    if signature is None:
        return False
    default = signature.default_of(key)
    members = _annotations.alternatives(annotation)
    return type(default) in (int, float) and bool(members) and str not in members


def _instead_of_computed_node(text: str, node: Any, key: Any) -> Any:
    """Such as a number instead of a schedule that is referred to."""
    value = _literals.parse(text)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None or is_number or _values.is_call_or_const(value):
        return value
    if isinstance(value, dict) and _qualname.QUALNAME in value:
        return value
    annotation = _call_targets.annotation_of(node, key)
    if annotation is not None and _annotations.is_certain(annotation):
        return _coercion.to_annotation(annotation, text)
    raise _coercion.Mismatch("a number, a call such as `py::module.f(1)`, or `None`")


def _is_computed_node(raw: Any, current: Any) -> bool:
    return isinstance(raw, _reference.Reference) and isinstance(
        current, _config_dict.ConfigDict
    )
