"""Layouts of vision models: timm (and torchvision) and Hugging Face."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from kauldron.checkpoints.pretrained._layout import (
    Layout,
    batch_norm,
    conv,
    dense,
    norm,
)
from kauldron.checkpoints.pretrained._rules import Rule

_RESNET_BLOCK = "stage{s}_block{b}"

TIMM_RESNET = Layout(
    name="timm_resnet",
    model="kd.nn.ResNet",
    rules=(
        *conv("conv1", "stem.conv"),
        *batch_norm("bn1", "stem.norm"),
        *conv("layer{s+1}.{b}.conv{c}", f"{_RESNET_BLOCK}.conv{{c}}.conv"),
        *batch_norm("layer{s+1}.{b}.bn{c}", f"{_RESNET_BLOCK}.conv{{c}}.norm"),
        *conv("layer{s+1}.{b}.downsample.0", f"{_RESNET_BLOCK}.shortcut.conv"),
        *batch_norm("layer{s+1}.{b}.downsample.1", f"{_RESNET_BLOCK}.shortcut.norm"),
        *dense("fc", "head"),
    ),
)

_HF_RESNET_BLOCK = "resnet.encoder.stages.{s}.layers.{b}"

HF_RESNET = Layout(
    name="hf_resnet",
    model="kd.nn.ResNet",
    base="resnet.",
    rules=(
        *conv("resnet.embedder.embedder.convolution", "stem.conv"),
        *batch_norm("resnet.embedder.embedder.normalization", "stem.norm"),
        *conv(
            f"{_HF_RESNET_BLOCK}.layer.{{c}}.convolution",
            f"{_RESNET_BLOCK}.conv{{c+1}}.conv",
        ),
        *batch_norm(
            f"{_HF_RESNET_BLOCK}.layer.{{c}}.normalization",
            f"{_RESNET_BLOCK}.conv{{c+1}}.norm",
        ),
        *conv(
            f"{_HF_RESNET_BLOCK}.shortcut.convolution", f"{_RESNET_BLOCK}.shortcut.conv"
        ),
        *batch_norm(
            f"{_HF_RESNET_BLOCK}.shortcut.normalization",
            f"{_RESNET_BLOCK}.shortcut.norm",
        ),
        *dense("classifier.1", "head"),
    ),
)

_CONVNEXT_BLOCK = "stage{s}_block{b}"

TIMM_CONVNEXT = Layout(
    name="timm_convnext",
    model="kd.nn.ConvNeXt",
    rules=(
        *conv("stem.0", "stem_conv"),
        *norm("stem.1", "stem_norm"),
        *norm("stages.{s}.downsample.0", "downsample{s}_norm"),
        *conv("stages.{s}.downsample.1", "downsample{s}_conv"),
        *conv("stages.{s}.blocks.{b}.conv_dw", f"{_CONVNEXT_BLOCK}.conv"),
        *norm("stages.{s}.blocks.{b}.norm", f"{_CONVNEXT_BLOCK}.norm"),
        *dense("stages.{s}.blocks.{b}.mlp.fc1", f"{_CONVNEXT_BLOCK}.dense_in"),
        *dense("stages.{s}.blocks.{b}.mlp.fc2", f"{_CONVNEXT_BLOCK}.dense_out"),
        Rule("stages.{s}.blocks.{b}.gamma", f"params.{_CONVNEXT_BLOCK}.layer_scale"),
        *norm("head.norm", "head_norm"),
        *dense("head.fc", "head"),
    ),
)

_HF_CONVNEXT_STAGE = "convnext.encoder.stages.{s}"
_HF_CONVNEXT_BLOCK = f"{_HF_CONVNEXT_STAGE}.layers.{{b}}"

HF_CONVNEXT = Layout(
    name="hf_convnext",
    model="kd.nn.ConvNeXt",
    base="convnext.",
    rules=(
        *conv("convnext.embeddings.patch_embeddings", "stem_conv"),
        *norm("convnext.embeddings.layernorm", "stem_norm"),
        *norm(f"{_HF_CONVNEXT_STAGE}.downsampling_layer.0", "downsample{s}_norm"),
        *conv(f"{_HF_CONVNEXT_STAGE}.downsampling_layer.1", "downsample{s}_conv"),
        *conv(f"{_HF_CONVNEXT_BLOCK}.dwconv", f"{_CONVNEXT_BLOCK}.conv"),
        *norm(f"{_HF_CONVNEXT_BLOCK}.layernorm", f"{_CONVNEXT_BLOCK}.norm"),
        *dense(f"{_HF_CONVNEXT_BLOCK}.pwconv1", f"{_CONVNEXT_BLOCK}.dense_in"),
        *dense(f"{_HF_CONVNEXT_BLOCK}.pwconv2", f"{_CONVNEXT_BLOCK}.dense_out"),
        Rule(
            f"{_HF_CONVNEXT_BLOCK}.layer_scale_parameter",
            f"params.{_CONVNEXT_BLOCK}.layer_scale",
        ),
        *norm("convnext.layernorm", "head_norm"),
        *dense("classifier", "head"),
    ),
)


@dataclasses.dataclass(frozen=True)
class ClassPosition:
    """A class token that has a position, which `kd.nn.VitEncoder` adds to none.

    `(cls_token, positions) -> (cls, positions)`: the first position becomes a part of our
    class token. In the way back it is zero, which is the same model.
    """

    def to_ours(
        self, theirs: Sequence[np.ndarray], shapes: Sequence[tuple[int, ...]]
    ) -> list[np.ndarray]:
        del shapes
        token, positions = (np.asarray(x, np.float32) for x in theirs)
        return [token[0, 0] + positions[0, 0], positions[0, 1:]]

    def to_theirs(self, ours: Sequence[np.ndarray]) -> list[np.ndarray]:
        token, positions = ours
        none = np.zeros_like(positions[:1])
        return [token[None, None], np.concatenate([none, positions])[None]]


_HEADS = "(heads head_dim) embed -> embed heads head_dim"
_HEADS_BIAS = "(heads head_dim) -> heads head_dim"
_OUT = "embed (heads head_dim) -> heads head_dim embed"
# One by one, or stacked if the encoder scans them.
_VIT_BLOCKS = ("encoder.layers_{i}", "encoder.blocks")


def _vit_blocks(
    rules_of: Callable[[str], Sequence[Rule]],
) -> tuple[Rule, ...]:
    return tuple(rule for block in _VIT_BLOCKS for rule in rules_of(block))


def _vit_start(cls_token: str, positions: str, patches: str) -> tuple[Rule, ...]:
    ours = ("params.encoder.cls", "params.encoder.pos_embedding.embeddings")
    return (
        *conv(patches, "encoder.embedding.patchifier"),
        Rule((cls_token, positions), ours, ClassPosition()),
        Rule(positions, ours[1], "1 n embed -> n embed"),
    )


def _timm_vit_block(ours: str) -> tuple[Rule, ...]:
    theirs, attention = "blocks.{i}", f"params.{ours}.attention"
    qkv = ("query", "key", "value")
    return (
        *norm(f"{theirs}.norm1", f"{ours}.attention_norm"),
        Rule(
            f"{theirs}.attn.qkv.weight",
            tuple(f"{attention}.{name}.kernel" for name in qkv),
            _HEADS,
        ),
        Rule(
            f"{theirs}.attn.qkv.bias",
            tuple(f"{attention}.{name}.bias" for name in qkv),
            _HEADS_BIAS,
        ),
        Rule(f"{theirs}.attn.proj.weight", f"{attention}.out.kernel", _OUT),
        Rule(f"{theirs}.attn.proj.bias", f"{attention}.out.bias"),
        *norm(f"{theirs}.norm2", f"{ours}.mlp_norm"),
        *dense(f"{theirs}.mlp.fc1", f"{ours}.mlp.dense_in"),
        *dense(f"{theirs}.mlp.fc2", f"{ours}.mlp.dense_out"),
    )


TIMM_VIT = Layout(
    name="timm_vit",
    model="kd.nn.VitClassifier",
    our_base="encoder.",
    rules=(
        *_vit_start("cls_token", "pos_embed", "patch_embed.proj"),
        *_vit_blocks(_timm_vit_block),
        *norm("norm", "encoder.encoder_norm"),
        *norm("fc_norm", "head_norm"),
        *dense("head", "head"),
    ),
)


def _hf_vit_block(ours: str) -> tuple[Rule, ...]:
    theirs, attention = "vit.encoder.layer.{i}", f"params.{ours}.attention"
    rules: list[Rule] = []
    for name in ("query", "key", "value"):
        weights = f"{theirs}.attention.attention.{name}"
        rules += [
            Rule(f"{weights}.weight", f"{attention}.{name}.kernel", _HEADS),
            Rule(f"{weights}.bias", f"{attention}.{name}.bias", _HEADS_BIAS),
        ]
    out = f"{theirs}.attention.output.dense"
    return (
        *norm(f"{theirs}.layernorm_before", f"{ours}.attention_norm"),
        *rules,
        Rule(f"{out}.weight", f"{attention}.out.kernel", _OUT),
        Rule(f"{out}.bias", f"{attention}.out.bias"),
        *norm(f"{theirs}.layernorm_after", f"{ours}.mlp_norm"),
        *dense(f"{theirs}.intermediate.dense", f"{ours}.mlp.dense_in"),
        *dense(f"{theirs}.output.dense", f"{ours}.mlp.dense_out"),
    )


HF_VIT = Layout(
    name="hf_vit",
    model="kd.nn.VitClassifier",
    base="vit.",
    our_base="encoder.",
    rules=(
        *_vit_start(
            "vit.embeddings.cls_token",
            "vit.embeddings.position_embeddings",
            "vit.embeddings.patch_embeddings.projection",
        ),
        *_vit_blocks(_hf_vit_block),
        *norm("vit.layernorm", "encoder.encoder_norm"),
        *dense("vit.pooler.dense", "pre_logits"),  # of `kd.nn.Vit`
        *dense("classifier", "head"),
    ),
)

LAYOUTS = {
    layout.name: layout
    for layout in (
        TIMM_VIT,
        HF_VIT,
        TIMM_RESNET,
        HF_RESNET,
        TIMM_CONVNEXT,
        HF_CONVNEXT,
    )
}
