"""Everything that a key may name, as a tree: dtypes and shapes of a training step."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from kauldron import kontext
from kauldron.ktyping import PyTree

if TYPE_CHECKING:
    from kauldron import train

# They are like `params`; a line for each array would say nothing new.
_LIKE_PARAMS = ("grads", "updates")
_SUMMARIZED = ("opt_state", "loss_states", "metric_states", "summary_states")
_STYLE = "font:12px ui-monospace,Menlo,Consolas,monospace;margin-left:1.2em"


@dataclasses.dataclass(frozen=True)
class SpecTree:
    """A tree of dtypes and shapes: collapsible in notebooks, indented in terminals.

    Attributes:
      name: Of its root.
      tree: Dicts, down to texts such as `f32[64 10]`.
      num_open: How many levels are open at first, in notebooks.
    """

    name: str
    tree: Mapping[str, Any]
    num_open: int = 1

    def __str__(self) -> str:
        return "\n".join([self.name, *_lines(self.tree, 1)])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _to_html(self.name, self.tree, self.num_open)


def plot_context(trainer: train.Trainer) -> SpecTree:
    """Returns what a key of a run may name; nothing is computed.

    Every path from the root is a key: `batch.image`, `preds.logits`, `interms.…`.
    Gradients and updates, which are as `params` is, and states are summed up in a line.
    """
    context = trainer.context_specs
    tree: dict[str, Any] = {}
    for field in dataclasses.fields(context):
        value = getattr(context, field.name)
        if value is None or not kontext.flatten_with_path({"_": value}):
            continue
        if field.name in _LIKE_PARAMS:
            tree[field.name] = "like params"
        elif field.name in _SUMMARIZED:
            count = len(kontext.flatten_with_path(value))
            if count:
                tree[field.name] = f"{count} arrays"
        else:
            tree[field.name] = spec_tree(value)
    return SpecTree("context", tree)


def spec_tree(value: PyTree) -> Any:
    """Returns a tree of arrays or specs as dicts of texts."""
    if hasattr(value, "dtype"):
        return kontext.format_spec(value)
    if isinstance(value, Mapping):
        return {str(key): spec_tree(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return {f"[{i}]": spec_tree(child) for i, child in enumerate(value)}
    found = kontext.flatten_with_path(value)
    return {str(path): kontext.format_spec(x) for path, x in found.items()}


def _lines(tree: Mapping[str, Any], depth: int) -> Iterator[str]:
    for name, child in tree.items():
        if isinstance(child, Mapping):
            yield f"{'  ' * depth}{name}"
            yield from _lines(child, depth + 1)
        else:
            yield f"{'  ' * depth}{name}: {child}"


def _to_html(name: str, tree: Any, num_open: int) -> str:
    if not isinstance(tree, Mapping):
        return (
            f"<div style='{_STYLE}'>{html.escape(name)}: "
            f"<span style='opacity:.7'>{html.escape(str(tree))}</span></div>"
        )
    children = "".join(_to_html(k, v, num_open - 1) for k, v in tree.items())
    is_open = " open" if num_open > 0 else ""
    return (
        f"<details{is_open} style='{_STYLE}'><summary>{html.escape(name)}</summary>"
        f"{children}</details>"
    )
