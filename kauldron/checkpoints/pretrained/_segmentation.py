"""Layouts of U-Nets: nnU-Net's networks and the `UNet` of MONAI."""

from __future__ import annotations

from kauldron.checkpoints.pretrained._layout import (
    Layout,
    batch_norm,
    conv,
    conv_transpose,
)
from kauldron.checkpoints.pretrained._rules import Rule

_MAX_LEVELS = 8


def _nnunet_encoder() -> tuple[Rule, ...]:
    theirs, ours = "encoder.stages.{s}.blocks.{i}", "encoder{s}_{i}"
    rules = [
        *conv("encoder.stem.convs.0.conv", "stem.conv"),
        *batch_norm("encoder.stem.convs.0.norm", "stem.norm"),
        *conv(f"{theirs}.conv{{c}}.conv", f"{ours}.conv{{c}}.conv"),
        *batch_norm(f"{theirs}.conv{{c}}.norm", f"{ours}.conv{{c}}.norm"),
        *conv(f"{theirs}.squeeze_excitation.fc1", f"{ours}.squeeze_excitation.squeeze"),
        *conv(f"{theirs}.squeeze_excitation.fc2", f"{ours}.squeeze_excitation.excite"),
    ]
    # Behind a pooling layer, if there is one.
    for index in (1, 0):
        rules += conv(f"{theirs}.skip.{index}.conv", f"{ours}.shortcut.conv")
        rules += batch_norm(f"{theirs}.skip.{index}.norm", f"{ours}.shortcut.norm")
    for index in (0, 1):
        plain = f"encoder.stages.{{s}}.{index}.convs.{{i}}"
        rules += conv(f"{plain}.conv", f"{ours}.conv")
        rules += batch_norm(f"{plain}.norm", f"{ours}.norm")
    return tuple(rules)


# Networks without deep supervision have heads, too, that nothing trains:
# `ignore_restored_keys=["decoder.seg_layers"]`, or `has_deep_supervision=True`.
NNUNET = Layout(
    name="nnunet",
    model="kd.nn.UNet",
    rules=(
        *_nnunet_encoder(),
        *conv_transpose("decoder.transpconvs.{s}", "up{s}.conv"),
        *conv("decoder.stages.{s}.convs.{i}.conv", "decoder{s}_{i}.conv"),
        *batch_norm("decoder.stages.{s}.convs.{i}.norm", "decoder{s}_{i}.norm"),
        *conv("decoder.seg_layers.{s}", "head{s}"),
    ),
    # The same parameters under other names.
    unused=("num_batches_tracked", "all_modules", "decoder.encoder"),
)


def _monai_level(level: int) -> tuple[Rule, ...]:
    """Each level is nested in the one above."""
    at = "model" + ".1.submodule" * level
    up = f"{at}.2"
    rules: list[Rule] = []
    for down in (f"{at}.0", at):  # the last level has nothing inside
        rules += _monai_unit(f"{down}.conv.unit{{i}}", f"encoder{level}_{{i}}")
        rules += conv(f"{down}.residual", f"encoder{level}_shortcut")
        # Without residual units.
        rules += _monai_unit(down, f"encoder{level}_0")
    for theirs in (f"{up}.0", up):
        rules += conv_transpose(f"{theirs}.conv", f"up{level}")
        rules += batch_norm(f"{theirs}.adn.N", f"up{level}_norm")
        rules.append(_slope(f"{theirs}.adn.A", f"up{level}_activation"))
    rules += _monai_unit(f"{up}.1.conv.unit0", f"decoder{level}")
    return tuple(rules)


def _monai_unit(theirs: str, ours: str) -> tuple[Rule, ...]:
    return (
        *conv(f"{theirs}.conv", f"{ours}.conv"),
        *batch_norm(f"{theirs}.adn.N", f"{ours}.norm"),
        _slope(f"{theirs}.adn.A", f"{ours}.activation"),
    )


def _slope(theirs: str, ours: str) -> Rule:
    return Rule(f"{theirs}.weight", f"params.{ours}.negative_slope", "1 -> ")


MONAI_UNET = Layout(
    name="monai_unet",
    model="kd.nn.ResidualUNet",
    rules=tuple(rule for level in range(_MAX_LEVELS) for rule in _monai_level(level)),
)

LAYOUTS = {layout.name: layout for layout in (NNUNET, MONAI_UNET)}
