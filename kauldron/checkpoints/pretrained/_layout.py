"""Layouts: how a family of published models names and turns its weights.

A table is made of rules for layers, of PyTorch's layer on the left and of ours on the
right, without `weight`, `kernel` and the like:

    Layout(
        name="my_net",
        model="kd.nn.MyNet",
        rules=(
            *conv("features.{i}.conv", "block{i}.conv"),
            *batch_norm("features.{i}.bn", "block{i}.norm"),
            *dense("classifier", "head"),
            Rule("pos", "params.pos_embedding", "1 n embed -> n embed"),
        ),
    )

What a model does not have (a bias, a shortcut) needs no rule of its own: a rule without
a tensor and without a variable does nothing. Of several rules for one variable the first
one counts whose tensors are in the file; written is the first one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from kauldron.checkpoints import _source_paths
from kauldron.checkpoints.pretrained import _rules


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layout:
    """Names and orientation of a family's weights, as rules.

    Attributes:
      name: Of the layout, as in `layout="timm_vit"`.
      model: What it fills, such as `kd.nn.ResNet`.
      rules: Tensors -> variables.
      base: First part of the names that files of a model without head lack, such as
        `vit.`.
      our_base: Likewise of our names: the part that `into` can lead to instead, such as
        `encoder.`.
      unused: Globs of tensors that mean nothing here, matched at any depth.
      metadata: What the family's own reader expects in the header of a file.
    """

    name: str
    model: str
    rules: Sequence[_rules.Rule]
    base: str = ""
    our_base: str = ""
    unused: Sequence[str] = ("num_batches_tracked",)
    metadata: tuple[tuple[str, str], ...] = (("format", "pt"),)

    def with_bases_of(self, theirs: Iterable[str], ours: Iterable[str]) -> Layout:
        """Returns the layout for these names, which may lack a base."""
        ours = [name.partition(".")[2] for name in ours]
        has = any(name.startswith(self.base) for name in theirs)
        has_ours = any(name.startswith(self.our_base) for name in ours)
        if has and has_ours:
            return self

        def strip(rule: _rules.Rule) -> _rules.Rule:
            return rule.renamed(
                lambda name: name if has else name.removeprefix(self.base),
                lambda name: name if has_ours else _without(self.our_base, name),
            )

        return dataclasses.replace(
            self,
            rules=tuple(map(strip, self.rules)),
            base=self.base if has else "",
            our_base=self.our_base if has_ours else "",
        )

    def knows_theirs(self, name: str) -> bool:
        """Whether a tensor of that name is in such files."""
        return self.is_unused(name) or any(
            n.match(name) is not None for rule in self.rules for n in rule.names_theirs
        )

    def knows_ours(self, name: str) -> bool:
        """Whether a rule makes the variable of that name."""
        return any(
            n.match(name) is not None for rule in self.rules for n in rule.names_ours
        )

    def is_unused(self, name: str) -> bool:
        """Whether a tensor of a file is one that no model needs, by `unused`."""
        return _source_paths.matches(self.unused, name)


def _without(base: str, ours: str) -> str:
    """Returns `params.head.kernel` for `params.encoder.head.kernel`."""
    collection, _, path = ours.partition(".")
    return f"{collection}.{path.removeprefix(base)}"


def dense(theirs: str, ours: str) -> tuple[_rules.Rule, ...]:
    """`torch.nn.Linear` -> `flax.linen.Dense`."""
    return (
        _rules.Rule(
            f"{theirs}.weight", f"params.{ours}.kernel", "d_out d_in -> d_in d_out"
        ),
        _rules.Rule(f"{theirs}.bias", f"params.{ours}.bias"),
    )


def conv(theirs: str, ours: str) -> tuple[_rules.Rule, ...]:
    """`torch.nn.Conv1d` to `Conv3d`, depthwise as well -> `flax.linen.Conv`."""
    form = "d_out d_in ... -> ... d_in d_out"
    return (
        _rules.Rule(f"{theirs}.weight", f"params.{ours}.kernel", form),
        _rules.Rule(f"{theirs}.bias", f"params.{ours}.bias"),
    )


def conv_transpose(theirs: str, ours: str) -> tuple[_rules.Rule, ...]:
    """`torch.nn.ConvTranspose1d` to `3d` -> `flax.linen.ConvTranspose`.

    With `transpose_kernel=False`, Flax correlates where PyTorch convolves, so space is
    reversed.
    """
    form = _rules.Rearrange("d_in d_out ... -> ... d_in d_out", flips_space=True)
    return (
        _rules.Rule(f"{theirs}.weight", f"params.{ours}.kernel", form),
        _rules.Rule(f"{theirs}.bias", f"params.{ours}.bias"),
    )


def norm(theirs: str, ours: str) -> tuple[_rules.Rule, ...]:
    """Layer, group, instance and RMS norms: `weight, bias` -> `scale, bias`."""
    return (
        _rules.Rule(f"{theirs}.weight", f"params.{ours}.scale"),
        _rules.Rule(f"{theirs}.bias", f"params.{ours}.bias"),
    )


def batch_norm(theirs: str, ours: str) -> tuple[_rules.Rule, ...]:
    """`torch.nn.BatchNorm1d` to `3d` -> `flax.linen.BatchNorm`, statistics included."""
    return (
        *norm(theirs, ours),
        _rules.Rule(f"{theirs}.running_mean", f"batch_stats.{ours}.mean"),
        _rules.Rule(f"{theirs}.running_var", f"batch_stats.{ours}.var"),
    )
