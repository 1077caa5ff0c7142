"""Layouts of vision models: timm (and torchvision) and Hugging Face."""

from __future__ import annotations

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
        *conv("layer{s+1}.{b}.conv{c+1}", f"{_RESNET_BLOCK}.conv{{c}}.conv"),
        *batch_norm("layer{s+1}.{b}.bn{c+1}", f"{_RESNET_BLOCK}.conv{{c}}.norm"),
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
            f"{_RESNET_BLOCK}.conv{{c}}.conv",
        ),
        *batch_norm(
            f"{_HF_RESNET_BLOCK}.layer.{{c}}.normalization",
            f"{_RESNET_BLOCK}.conv{{c}}.norm",
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

LAYOUTS = {
    layout.name: layout
    for layout in (TIMM_RESNET, HF_RESNET, TIMM_CONVNEXT, HF_CONVNEXT)
}
