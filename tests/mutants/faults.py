"""The faults that are planted: Cosmic Ray's mutations, less those that tell nothing."""

from __future__ import annotations

import ast
import pathlib
import random
import re
from collections.abc import Iterable

from cosmic_ray import commands, work_db, work_item

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

    Annotations, decorators and the texts of errors are left out: hardly anything that
    runs depends on them.
    """
    sources = list(sources)
    with work_db.use_db(":memory:") as db:
        commands.init([root / source for source in sources], db, {})
        specs = [m for item in db.work_items for m in item.mutations]
    silent = {root / source: _silent_spans(root / source) for source in sources}
    kept = [
        spec
        for spec in specs
        if _REALISTIC.fullmatch(spec.operator_name)
        and not any(a <= spec.start_pos < b for a, b in silent[spec.module_path])
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


def _silent_spans(file: pathlib.Path) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    spans = []
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
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
    return spans


def _span(node: ast.expr) -> tuple[tuple[int, int], tuple[int, int]]:
    start = (node.lineno, node.col_offset)
    return start, (node.end_lineno or 0, node.end_col_offset or 0)
