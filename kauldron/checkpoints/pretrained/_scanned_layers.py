"""Layers that are a scan: one variable for all of them, of a tensor for each.

`kd.nn.CausalLM(scan_layers=True)` has `layers.layer_0.x`, with a leading axis, where else
there are `layer_0.x`, `layer_1.x`, ...; of several blocks in turn, `layers.layer_1.x` is
every second layer. Rules for the one are rules for the other: the number of a layer, which
both sides had, is left on the side of the tensors.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence

from kauldron.checkpoints.pretrained import _layout, _rules

_SCANNED = re.compile(r"\w+\.layers\.layer_(\d+)\.")
_PLAIN = re.compile(r"\w+\.layer_(\d+)\.")
_OURS = "layer_{i}"


def with_scanned_layers(
    layout: _layout.Layout, shapes: Mapping[str, Sequence[int]]
) -> _layout.Layout:
    """Returns the layout for a model whose layers may be a scan.

    Args:
      layout: Its rules for layers are for `layer_{i}`.
      shapes: Name of each variable of the model, with its shape.
    """
    scanned = {
        int(m[1]): shape[0]
        for name, shape in shapes.items()
        if (m := _SCANNED.match(name))
    }
    if not scanned:
        return layout
    plain = {int(m[1]) for name in shapes if (m := _PLAIN.match(name))}
    # Those before the scan are numbered from 0 on; those behind it, behind its layers.
    first = next(i for i in itertools.count() if i not in plain)
    period, rounds = max(scanned) + 1, next(iter(scanned.values()))
    rules = itertools.chain.from_iterable(
        _rules_of(rule, first, period, rounds) for rule in layout.rules
    )
    return dataclasses.replace(layout, rules=tuple(rules))


def _rules_of(
    rule: _rules.Rule, first: int, period: int, rounds: int
) -> Iterator[_rules.Rule]:
    """Yields the rule for layers of a scan, and for others."""
    if any(_OURS in name.template for name in rule.names_ours):
        for place in range(period):
            number = f"{{i*{period}+{first + place}<{rounds}}}"
            yield rule.renamed(
                lambda name, number=number: name.replace("{i}", number),
                lambda name, place=place: name.replace(_OURS, f"layers.layer_{place}"),
            )
    yield rule
