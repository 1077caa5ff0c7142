"""Field references: computed from other values of the config on every read."""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NoReturn

from ml_collections import config_dict

from kauldron.konfig import _errors

FieldReference = config_dict.FieldReference

# How each operator is written, for printing.
SYMBOLS: dict[Callable[..., Any], str] = {
    operator.add: "+",
    operator.sub: "-",
    operator.mul: "*",
    operator.truediv: "/",
    operator.floordiv: "//",
    operator.mod: "%",
    operator.pow: "**",
    operator.matmul: "@",
    operator.and_: "&",
    operator.or_: "|",
    operator.xor: "^",
    operator.lshift: "<<",
    operator.rshift: ">>",
    operator.eq: "==",
    operator.ne: "!=",
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
}
PREFIXES: dict[Callable[..., Any], str] = {
    operator.neg: "-",
    operator.pos: "+",
    operator.invert: "~",
}
_ATOMS = (str, int, float, type(operator.add))
_KEEP_NONE = (operator.eq, operator.ne)

# What Python asks for when a plain value is needed now.
_CONVERSIONS = {
    "__int__": "int(value)",
    "__float__": "float(value)",
    "__complex__": "complex(value)",
    "__bytes__": "bytes(value)",
    "__index__": "range(value)",
    "__len__": "len(value)",
    "__round__": "round(value)",
    "__trunc__": "math.trunc(value)",
    "__floor__": "math.floor(value)",
    "__ceil__": "math.ceil(value)",
    "__fspath__": "os.path.join(value)",
}

# Kinds of expressions, and their arguments.
ROOT = "root"  # (cfg,)
ATTR = "attr"  # (expression, name)
ITEM = "item"  # (expression, key)
CALL = "call"  # (function or expression, args, kwargs)
OP = "op"  # (operator, *operands)


class Reference(FieldReference):
    """An expression over values of a config, such as `cfg.ref.num_train_steps // 10`.

    Made by `cfg.ref`, `konfig.ref_fn`, and by attributes, items, calls, and operators
    of a reference. Names that references have as methods (`get`, `set`, `attr`, ...) are
    reached as items: `cfg.ref["get"]`.
    """

    # What the base class keeps; not used by expressions.
    _value = None
    _field_type = object
    _required = False
    _ops: ClassVar[list[Any]] = []

    def __init__(self, kind: str, args: tuple[Any, ...]):
        self.__dict__["_kind"] = kind
        self.__dict__["_args"] = args

    def get(self) -> Any:
        """Returns the value of the expression now.

        Raises:
          ConfigError: If the expression cannot be computed.
        """
        try:
            return _evaluate(self)
        except RecursionError:
            raise _errors.ConfigError(
                f"`{self!r}` refers to itself, so it has no value. Give one of the "
                "fields that it goes through a plain value."
            ) from None

    def set(self, value: Any, type_safe: bool = True) -> None:
        raise _errors.ConfigTypeError(
            f"`{self!r}` is an expression and cannot be set. Set the field that it "
            "refers to, or replace the field that holds it."
        )

    def empty(self) -> bool:
        return self.get() is None

    def identity(self) -> Reference:
        return self

    def attr(self, attr_name: str) -> Reference:
        return Reference(ATTR, (self, attr_name))

    def _apply_cast_op(self, field_type: Any) -> Reference:
        return Reference(CALL, (field_type, (self,), {}))

    def has_cycle(self, visited: Any = None) -> bool:
        return False  # an expression is a tree; cycles go through fields, see `get`

    def __getattr__(self, name: str) -> Reference:
        if name.startswith(("__", "_repr_", "_ipython_")):  # protocols, not fields
            raise AttributeError(name)
        return Reference(ATTR, (self, name))

    def __setattr__(self, name: str, value: Any) -> None:
        raise _errors.ConfigAttributeError(
            f"`{self!r}.{name}` cannot be set: references are read-only. "
            "Set the field itself, without `.ref`."
        )

    def __getitem__(self, key: Any) -> Reference:
        return Reference(ITEM, (self, key))

    def __call__(self, *args: Any, **kwargs: Any) -> Reference:
        return Reference(CALL, (self, args, kwargs))

    def __iter__(self) -> NoReturn:
        raise _errors.ConfigTypeError(
            f"`{self!r}` cannot be iterated over: its value is not known yet."
        )

    def __contains__(self, item: Any) -> NoReturn:
        raise _errors.ConfigTypeError(
            f"`in {self!r}` cannot be computed: its value is not known yet."
        )

    def __bool__(self) -> NoReturn:
        raise like_not_implemented(
            f"`{self!r}` cannot be used in `if`, `and`, `or`, `not`: its value is not "
            "known yet. Use `&` and `|`, or `konfig.ref_fn` for a function of it."
        )

    def __repr__(self) -> str:
        return to_text(self)

    def __str__(self) -> NoReturn:
        raise no_value_yet(self, f"str({self!r})", "value", "str(value)")

    def __format__(self, format_spec: str) -> NoReturn:
        field = f"{{value:{format_spec}}}" if format_spec else "{value}"
        raise no_value_yet(self, "a text with it", "value", f'f"...{field}"')

    def __copy__(self) -> Reference:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Reference:
        kind, args = self.__dict__["_kind"], self.__dict__["_args"]
        if kind == ROOT:  # follows the config if it is being copied
            return Reference(ROOT, (memo.get(id(args[0]), args[0]),))
        copied = (a if type(a) in _ATOMS else copy.deepcopy(a, memo) for a in args)
        return Reference(kind, tuple(copied))

    def __reduce__(self) -> Any:
        return Reference, (self.__dict__["_kind"], self.__dict__["_args"])

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__reduce__()


def no_value_yet(
    ref: Reference, what: str, name: str, expression: str
) -> _errors.ConfigTypeError:
    """Returns the error for what cannot be done before the config is finished."""
    return _errors.ConfigTypeError(
        f"The value of `{ref!r}` is not known yet, it may still change, so {what} cannot "
        f"be made. Compute it when it is read: `konfig.ref_fn(lambda {name}: "
        f"{expression}, {ref!r})`. (`repr` shows the reference itself.)"
    )


def like_not_implemented(message: str) -> _errors.ConfigError:
    return _errors.like(NotImplementedError)(message)


def _define_operators() -> None:
    def binary(fn: Callable[..., Any]) -> Any:
        return lambda self, other: Reference(OP, (fn, self, other))

    def reflected(fn: Callable[..., Any]) -> Any:
        return lambda self, other: Reference(OP, (fn, other, self))

    def unary(fn: Callable[..., Any]) -> Any:
        return lambda self: Reference(OP, (fn, self))

    comparisons = ("eq", "ne", "lt", "le", "gt", "ge")
    for fn in SYMBOLS:
        name = fn.__name__.strip("_")
        setattr(Reference, f"__{name}__", binary(fn))
        if name not in comparisons:
            setattr(Reference, f"__r{name}__", reflected(fn))
    for fn in (*PREFIXES, operator.abs):
        setattr(Reference, f"__{fn.__name__}__", unary(fn))

    def refused(expression: str) -> Any:
        def method(self: Reference, *args: Any) -> NoReturn:
            what = f"`{expression.replace('value', repr(self))}`"
            error = no_value_yet(self, what, "value", expression)
            if expression.startswith("os."):  # `os.path` hides each `TypeError`
                raise like_not_implemented(str(error))
            raise error

        return method

    for name, expression in _CONVERSIONS.items():
        setattr(Reference, name, refused(expression))


_define_operators()


def _evaluate(ref: Reference) -> Any:
    kind, args = ref.__dict__["_kind"], ref.__dict__["_args"]
    if kind == ROOT:
        return args[0]
    if kind == OP:
        fn, *operands = args
        values = [dereference(operand) for operand in operands]
        if fn not in _KEEP_NONE and any(v is None for v in values):
            return None  # of an unset placeholder; as ml_collections has it
        return _compute(ref, fn, values, {})
    if kind == CALL:
        fn, fn_args, fn_kwargs = args
        fn = dereference(fn)
        if fn is None:
            return None
        values = [dereference_tree(a) for a in fn_args]
        named = {k: dereference_tree(v) for k, v in fn_kwargs.items()}
        return _compute(ref, fn, values, named)
    base = dereference(args[0])
    if base is None:
        return None
    name = args[1] if kind == ATTR else dereference(args[1])
    return _get_part(ref, base, name, is_item=kind == ITEM)


def _compute(
    ref: Reference, fn: Callable[..., Any], args: list[Any], kwargs: Mapping[str, Any]
) -> Any:
    try:
        return fn(*args, **kwargs)
    except (RecursionError, _errors.ConfigError):
        raise
    except Exception as error:
        raise _errors.like(type(error))(
            f"`{ref!r}` cannot be computed: {type(error).__name__}: {error}"
        ) from error


def _get_part(ref: Reference, base: Any, name: Any, *, is_item: bool) -> Any:
    try:
        if isinstance(base, config_dict.ConfigDict):
            if is_item or name in base:
                return dereference(base[name])
            return getattr(base, name)
        return dereference(base[name] if is_item else getattr(base, name))
    except (RecursionError, _errors.RequiredValueError):
        raise
    except (LookupError, AttributeError, TypeError) as error:
        raise _errors.like(type(error))(f"`{ref!r}` has no value: {error}") from error


def dereference(value: Any) -> Any:
    """Returns the value behind references; anything else as it is."""
    while isinstance(value, FieldReference):
        value = value.get()
    return value


def dereference_tree(value: Any) -> Any:
    """`dereference`, also inside lists, tuples and dicts."""
    value = dereference(value)
    if type(value) in (list, tuple):
        return type(value)(dereference_tree(v) for v in value)
    if type(value) is dict:
        return {k: dereference_tree(v) for k, v in value.items()}
    return value


def get_root(ref: Reference) -> Any:
    """Returns the config that the expression starts from; `None` if there is none."""
    kind, args = ref.__dict__["_kind"], ref.__dict__["_args"]
    if kind == ROOT:
        return args[0]
    for arg in args:
        if isinstance(arg, Reference) and (root := get_root(arg)) is not None:
            return root
    return None


def parts_of(ref: Reference) -> tuple[str, tuple[Any, ...]]:
    """Returns the kind of an expression, and its arguments."""
    return ref.__dict__["_kind"], ref.__dict__["_args"]


def to_text(value: Any, *, literal: Callable[[Any], str] = repr) -> str:
    """Returns an expression as Python.

    Args:
      value: A reference, or an operand of one.
      literal: How other operands are written.
    """
    if not isinstance(value, Reference):
        return literal(value)
    kind, args = parts_of(value)
    if kind == ROOT:
        return "cfg.ref"
    if kind == CALL:
        return _call_text(*args, literal=literal)
    if kind == OP:
        return _operation_text(args, literal)
    base = to_text(args[0], literal=literal)
    if kind == ATTR:
        return f"{base}.{args[1]}"
    return f"{base}[{to_text(args[1], literal=literal)}]"


def _call_text(fn: Any, args: Any, kwargs: Any, literal: Callable[[Any], str]) -> str:
    if isinstance(fn, Reference):
        name = to_text(fn, literal=literal)
    else:
        name = getattr(fn, "__qualname__", repr(fn))
    inner = [to_text(a, literal=literal) for a in args]
    inner += [f"{k}={to_text(v, literal=literal)}" for k, v in kwargs.items()]
    return f"{name}({', '.join(inner)})"


def _operation_text(args: tuple[Any, ...], literal: Callable[[Any], str]) -> str:
    fn, *operands = args
    texts = []
    for operand in operands:
        text = to_text(operand, literal=literal)
        is_op = isinstance(operand, Reference) and parts_of(operand)[0] == OP
        is_negative = isinstance(operand, int | float) and operand < 0
        texts.append(f"({text})" if is_op or is_negative else text)
    if fn in SYMBOLS:
        return f"{texts[0]} {SYMBOLS[fn]} {texts[1]}"
    return f"{PREFIXES[fn]}{texts[0]}" if fn in PREFIXES else f"abs({texts[0]})"
