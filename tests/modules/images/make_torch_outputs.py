"""Writes `torch_outputs.npz`: what PyTorch, MONAI and nnU-Net's networks compute.

And `torch_tensors.json`: names and shapes of the tensors in files of networks.

Made with torch 2.14.1, torchvision 0.29.1, timm 1.0.22, monai 1.6.1 and
dynamic_network_architectures 0.4.4:

    python make_torch_outputs.py
"""

from __future__ import annotations

import json
import pathlib

import monai.networks.nets as monai_nets
import numpy as np
import timm
import torch
import torch.nn.functional as F
from dynamic_network_architectures.architectures import unet as nnunet
from dynamic_network_architectures.building_blocks.residual import BasicBlockD
from monai.networks.nets.attentionunet import AttentionBlock
from torch import nn
from torch_arrays import array, inputs_of
from torchvision.models import resnet

OUT = pathlib.Path(__file__).with_name("torch_outputs.npz")
TENSORS = OUT.with_name("torch_tensors.json")
LAYOUTS = ("monai2d", "monai3d", "plain1d", "residual2d", "residual3d")


class Shortcut(nn.Sequential):
    def __init__(self, channels, features, stride):
        conv = nn.Conv2d(channels, features, 1, stride, bias=False)
        super().__init__(conv, nn.BatchNorm2d(features))


class Gate(AttentionBlock):
    def forward(self, skip, gating):
        return super().forward(gating, skip)


class Warp(nn.Module):
    """Bilinear samples at positions that are displaced by voxels, edges repeated."""

    def forward(self, image, displacement):
        sizes = torch.tensor(image.shape[2:])
        axes = [torch.arange(n, dtype=torch.float32) for n in sizes]
        at = torch.stack(torch.meshgrid(*axes, indexing="ij")) + displacement
        unit = torch.movedim(at, 1, -1) / (sizes - 1) * 2 - 1
        return F.grid_sample(
            image, unit.flip(-1), padding_mode="border", align_corners=True
        )


def of_nnunet(cls, num_axes=2, **kwargs):
    convs = [nn.Conv1d, nn.Conv2d, nn.Conv3d]
    norms = [nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d]
    defaults = {
        "input_channels": 2,
        "n_stages": 3,
        "features_per_stage": [4, 6, 8],
        "conv_op": convs[num_axes - 1],
        "kernel_sizes": 3,
        "strides": [1, 2, 2],
        "num_classes": 3,
        "conv_bias": True,
        "norm_op": norms[num_axes - 1],
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": nn.LeakyReLU,
        "deep_supervision": True,
    }
    return cls(**{**defaults, **kwargs})


def squeezed():
    return BasicBlockD(
        nn.Conv2d, 4, 16, 3, 2, True, nn.InstanceNorm2d,
        {"eps": 1e-5, "affine": True}, None, None, nn.LeakyReLU,
        squeeze_excitation=True,
    )  # fmt: skip


def patch_discriminator():
    layers = [nn.Conv2d(2, 2, 4, 2, 1), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(2, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2)]
    layers += [nn.Conv2d(4, 8, 4, 1, 1), nn.BatchNorm2d(8), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(8, 1, 4, 1, 1))


def mixer():
    return timm.models.MlpMixer(
        num_classes=3,
        img_size=8,
        in_chans=2,
        patch_size=4,
        num_blocks=2,
        embed_dim=6,
        mlp_ratio=(0.5, 2.0),
    )


CASES = {
    "conv1d": nn.Conv1d(2, 3, 3, 2, padding=2, dilation=2),
    "conv2d": nn.Conv2d(4, 6, 3, (2, 1), padding=1, groups=2),
    "conv3d": nn.Conv3d(2, 3, (1, 3, 3), 2, padding=(0, 1, 1)),
    "transposed1d": nn.ConvTranspose1d(2, 3, 4, 2, padding=1),
    "transposed2d": nn.ConvTranspose2d(2, 3, 3, 2, padding=1, output_padding=1),
    "transposed3d": nn.ConvTranspose3d(2, 3, (1, 2, 2), (1, 2, 2)),
    "instance": nn.InstanceNorm2d(4, affine=True),
    "group": nn.GroupNorm(2, 4),
    "batch": nn.BatchNorm2d(4),
    "nearest": nn.Upsample(scale_factor=2, mode="nearest"),
    "linear": nn.Upsample(scale_factor=2, mode="bilinear"),
    "basic": resnet.BasicBlock(4, 6, 2, Shortcut(4, 6, 2)),
    "bottleneck": resnet.Bottleneck(4, 2, 2, Shortcut(4, 8, 2)),
    "squeezed": squeezed(),
    "gate": Gate(2, 4, 3, 2),
    "monai2d": monai_nets.UNet(2, 2, 3, (4, 6, 8), (2, 2), num_res_units=2),
    "monai3d": monai_nets.UNet(3, 1, 2, (2, 4, 4), (2, 1), num_res_units=0),
    "plain1d": of_nnunet(
        nnunet.PlainConvUNet,
        1,
        n_conv_per_stage=1,
        n_conv_per_stage_decoder=[2, 1],
    ),
    "residual2d": of_nnunet(
        nnunet.ResidualEncoderUNet,
        n_blocks_per_stage=[1, 2, 1],
        n_conv_per_stage_decoder=1,
    ),
    "residual3d": of_nnunet(
        nnunet.ResidualEncoderUNet,
        3,
        n_blocks_per_stage=1,
        n_conv_per_stage_decoder=1,
        kernel_sizes=[[1, 3, 3], 3, 3],
        strides=[1, [1, 2, 2], 2],
    ),
    "nested": monai_nets.BasicUNetPlusPlus(2, 1, 2, (2, 2, 4, 8, 16, 2), True),
    "patches": patch_discriminator(),
    "mixer": mixer(),
    "warp": Warp(),
}


def main():
    outputs, tensors = {}, {}
    for name, module in CASES.items():
        state = {
            k: torch.from_numpy(array(k, v.shape))
            for k, v in module.state_dict().items()
            if not k.endswith("num_batches_tracked")
            and "all_modules" not in k  # other names of the same parameters
            and not k.startswith("decoder.encoder.")
        }
        module.load_state_dict(state, strict=False)
        if name in LAYOUTS:
            tensors[name] = {k: list(v.shape) for k, v in module.state_dict().items()}
        inputs = [torch.from_numpy(x) for x in inputs_of(name)]
        with torch.no_grad():
            for mode in ["", " training"] if name == "batch" else [""]:
                result = module.train(bool(mode))(*inputs)
                results = result if isinstance(result, list) else [result]
                for i, y in enumerate(results):
                    outputs[f"{name}{mode}.{i}"] = y.numpy()
        if name == "batch":
            outputs["batch mean"] = module.running_mean.numpy()
            outputs["batch var"] = module.running_var.numpy()
    np.savez_compressed(OUT, **outputs)
    TENSORS.write_text(json.dumps(tensors, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
