"""The faults that are planted: Cosmic Ray's mutations, less those that tell nothing."""

from __future__ import annotations

import ast
import difflib
import pathlib
import random
import re
from collections.abc import Iterable
from typing import TypeAlias

from cosmic_ray import commands, mutating, plugins, work_db, work_item

# From (line, column) up to another.
_Span: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

# Slips that a person makes: a sign, a boundary, a negation, a constant, a default.
_REALISTIC = re.compile(
    r"core/(?:"
    r"ReplaceBinaryOperator_(?:Add_Sub|Sub_Add|Mul_Div|Div_Mul|FloorDiv_Mul|Mod_Mul|"
    r"Pow_Mul|BitAnd_BitOr|BitOr_BitAnd)|"
    r"ReplaceComparisonOperator_(?:Lt_LtE|LtE_Lt|Gt_GtE|GtE_Gt|Lt_Gt|Gt_Lt|Eq_NotEq|"
    r"NotEq_Eq|Is_IsNot|IsNot_Is|In_NotIn|NotIn_In)|"
    r"ReplaceUnaryOperator_(?:USub_UAdd|Delete_Not|Delete_USub)|"
    r"NumberReplacer|ReplaceTrueWithFalse|ReplaceFalseWithTrue|ReplaceAndWithOr|"
    r"ReplaceOrWithAnd|AddNot|ReplaceBreakWithContinue|ReplaceContinueWithBreak|"
    r"ZeroIterationForLoop)"
)


def find(
    root: pathlib.Path, sources: Iterable[pathlib.Path]
) -> list[work_item.MutationSpec]:
    """Returns every fault that can be planted in the files, in order.

    Annotations, decorators, the texts of errors, and what only asserts (`strict=True`) are
    left out: hardly anything that runs depends on them.
    """
    sources = list(sources)
    with work_db.use_db(":memory:") as db:
        commands.init([root / source for source in sources], db, {})
        specs = [m for item in db.work_items for m in item.mutations]
    trees = {
        root / source: ast.parse((root / source).read_text(encoding="utf-8"))
        for source in sources
    }
    silent = {file: _silent_spans(tree) for file, tree in trees.items()}
    operators = {file: _operator_spans(tree) for file, tree in trees.items()}
    kept = [
        spec
        for spec in specs
        if _REALISTIC.fullmatch(spec.operator_name)
        and not _is_in(silent[spec.module_path], spec)
        and (
            "Binary" not in spec.operator_name
            or _is_in(operators[spec.module_path], spec)
        )
    ]
    return sorted(kept, key=lambda s: (s.module_path, s.start_pos, s.operator_name))


def choose(
    specs: list[work_item.MutationSpec], *, num: int, seed: int
) -> list[work_item.MutationSpec]:
    """Returns at most `num` faults, one for each place in the code, at random."""
    rng = random.Random(seed)
    by_place: dict[tuple[pathlib.Path, tuple[int, int]], list] = {}
    for spec in specs:
        by_place.setdefault((spec.module_path, spec.start_pos), []).append(spec)
    places = list(by_place.values())
    rng.shuffle(places)
    return [rng.choice(place) for place in places[:num]]


def plant(spec: work_item.MutationSpec, code: str) -> str:
    """Returns the text of a source file with the fault.

    Raises:
      ValueError: If it is the text of another file.
    """
    operator = plugins.get_operator(spec.operator_name)(**spec.operator_args)
    wrong = mutating.mutate_code(code, operator, spec.occurrence)
    if wrong is None:
        raise ValueError(f"There is no place for a fault in this file: {spec}.")
    return wrong


def diff(right: str, wrong: str, *, name: str) -> str:
    """Returns the lines in which two texts of a file differ."""
    lines = difflib.unified_diff(
        right.splitlines(), wrong.splitlines(), name, name, lineterm="", n=1
    )
    return "\n".join(lines)


def _is_in(spans: Iterable[_Span], spec: work_item.MutationSpec) -> bool:
    return any(a <= spec.start_pos < b for a, b in spans)


def _operator_spans(tree: ast.Module) -> list[_Span]:
    """Returns where binary operators are: the stars of arguments are none."""
    spans = []
    for node in ast.walk(tree):
        match node:
            case ast.BinOp(left=left, right=right):
                spans.append((_span(left)[1], _span(right)[0]))
            case ast.AugAssign(target=left, value=right):
                spans.append((_span(left)[1], _span(right)[0]))
    return spans


def _silent_spans(tree: ast.Module) -> list[_Span]:
    spans = []
    for node in ast.walk(tree):
        match node:
            case ast.arg(annotation=ast.expr() as part):
                spans.append(_span(part))
            case ast.AnnAssign(annotation=part):
                spans.append(_span(part))
            case ast.FunctionDef() | ast.ClassDef():
                parts = [*node.decorator_list, getattr(node, "returns", None)]
                spans += [_span(part) for part in parts if part is not None]
            case ast.Raise(exc=ast.expr() as part):
                spans.append(_span(part))
            case ast.keyword(arg="strict" | "usedforsecurity", value=part):
                spans.append(_span(part))
    return spans


def _span(node: ast.expr) -> _Span:
    start = (node.lineno, node.col_offset)
    return start, (node.end_lineno or 0, node.end_col_offset or 0)
