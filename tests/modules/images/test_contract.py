"""What every convolutional block and model promises: one line for each."""

from __future__ import annotations

import pytest

from kauldron import kd
from tests.modules import contract

# A bias in front of a norm over positions changes nothing.
_NORMALISED = r"(encoder|decoder|node|conv|stem|up)\w*(\.conv\d)?\.(conv\.)?bias$"


def _logits(preds):
    return preds["logits"]


BLOCKS = [
    contract.Block(
        name="transposed conv",
        make=lambda: kd.nn.ConvTranspose(3, (3, 2), strides=(2, 2)),
        inputs=((3, 4, 2),),
        output=(6, 8, 3),
    ),
    contract.Block(
        name="conv block 3-D",
        make=lambda: kd.nn.ConvBlock(4, (1, 3, 3), norm="layer", activation="prelu"),
        inputs=((2, 4, 4, 3),),
        output=(2, 4, 4, 4),
    ),
    contract.Block(
        name="residual block",
        make=lambda: kd.nn.ResidualBlock(8, strides=2, squeeze_ratio=0.5),
        inputs=((4, 4, 3),),
        output=(2, 2, 8),
        is_training=True,
        apart=False,
    ),
    contract.Block(
        name="attention gate",
        make=lambda: kd.nn.AttentionGate(4, norm=None),
        inputs=((3, 3, 2), (3, 3, 5)),
        output=(3, 3, 2),
    ),
    contract.Block(
        name="spatial transformer",
        make=lambda: kd.nn.SpatialTransformer(1),
        inputs=((9, 2), (9, 1)),
        output=(9, 2),
    ),
]

SLOW = [
    contract.Block(
        name="unet",
        make=lambda: kd.nn.UNet(
            num_classes=2,
            features=(4, 4),
            kernel_size=(3,),
            encoder_blocks=1,
            decoder_blocks=1,
            has_attention=True,
            norm="layer",
        ),
        inputs=((8, 2),),
        output=(8, 2),
        pick=_logits,
        # The gate's last norm is over one channel.
        without_gradient=r"gate0\.(?!factor\.norm\.bias)",
    ),
    contract.Block(
        name="registration",
        make=lambda: kd.nn.Registration(
            network=kd.nn.ConvBlock(4, (3,), norm=None), num_spatial_axes=1, strides=2
        ),
        inputs=((8, 2), (8, 1)),
        output=(8, 2),
        pick=lambda preds: preds["warped"],
    ),
    contract.Block(
        name="conv 1-D",
        make=lambda: kd.nn.Conv(3, (3,), strides=2),
        inputs=((8, 2),),
        output=(4, 3),
    ),
    contract.Block(
        name="conv block, instance norm, dropout",
        make=lambda: kd.nn.ConvBlock(4, (3, 3), strides=2, dropout_rate=0.1),
        inputs=((6, 6, 3),),
        output=(3, 3, 4),
        without_gradient=_NORMALISED,
    ),
    contract.Block(
        name="bottleneck, pooled shortcut",
        make=lambda: kd.nn.ResidualBlock(
            8, strides=2, bottleneck_features=2, shortcut="pool", norm="rms"
        ),
        inputs=((4, 4, 8),),
        output=(2, 2, 8),
    ),
    contract.Block(
        name="strided downsampling",
        make=lambda: kd.nn.Downsample((1, 2), "conv"),
        inputs=((4, 4, 3),),
        output=(4, 2, 3),
    ),
    contract.Block(
        name="linear upsampling",
        make=lambda: kd.nn.Upsample((2, 2), "linear", features=2),
        inputs=((3, 3, 4),),
        output=(6, 6, 2),
    ),
    contract.Block(
        name="residual encoder, deep supervision",
        make=lambda: kd.nn.UNet(
            num_classes=2,
            features=(4, 8, 8),
            is_residual=True,
            squeeze_ratio=0.5,
            up="nearest",
            has_deep_supervision=True,
            norm="rms",
        ),
        inputs=((8, 12, 2),),
        output=(4, 6, 2),
        pick=lambda preds: preds["deep"][0],
        without_gradient=r"^(head1|up1|decoder1)",
    ),
    contract.Block(
        name="residual unet 3-D",
        make=lambda: kd.nn.ResidualUNet(
            num_classes=2, features=(4, 8), kernel_size=(3, 3, 3), norm=None
        ),
        inputs=((4, 4, 4, 1),),
        output=(4, 4, 4, 2),
        pick=_logits,
    ),
    contract.Block(
        name="unet++",
        make=lambda: kd.nn.UNetPlusPlus(
            num_classes=2, features=(4, 4, 8), norm="layer"
        ),
        inputs=((8, 8, 1),),
        output=(8, 8, 2),
        pick=_logits,
    ),
    contract.Block(
        name="patch discriminator",
        make=lambda: kd.nn.PatchDiscriminator(
            features=4, num_layers=1, norm="layer", has_spectral_norm=True
        ),
        inputs=((8, 8, 3),),
        output=(2, 2, 1),
        pick=_logits,
    ),
    contract.Block(
        name="mlp-mixer",
        make=lambda: kd.nn.MlpMixer(
            num_classes=3,
            patch_size=(2, 2),
            features=8,
            num_layers=2,
            tokens_mlp_features=4,
            channels_mlp_features=16,
            dropout_rate=0.1,
        ),
        inputs=((4, 4, 3),),
        output=(3,),
        pick=_logits,
    ),
]


@contract.parametrize(BLOCKS)
def test_blocks_keep_the_contract(block):
    contract.check(block)


@pytest.mark.slow
@contract.parametrize(SLOW)
def test_models_keep_the_contract(block):
    contract.check(block)
