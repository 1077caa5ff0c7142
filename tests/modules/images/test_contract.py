"""What every convolutional block promises: one line for each."""

from __future__ import annotations

from kauldron import kd
from tests.modules import contract

_BEFORE_NORM = r"conv\d?\.conv\.bias|conv\.bias$"

BLOCKS = [
    contract.Block(
        name="conv 1-D",
        make=lambda: kd.nn.Conv(3, (3,), strides=2),
        inputs=((8, 2),),
        output=(4, 3),
    ),
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
        name="conv block, instance norm, dropout",
        make=lambda: kd.nn.ConvBlock(4, (3, 3), strides=2, dropout_rate=0.1),
        inputs=((6, 6, 3),),
        output=(3, 3, 4),
        without_gradient=r"conv\.bias",
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
        name="bottleneck, pooled shortcut",
        make=lambda: kd.nn.ResidualBlock(
            8, strides=2, bottleneck_features=2, shortcut="pool", norm="rms"
        ),
        inputs=((4, 4, 8),),
        output=(2, 2, 8),
    ),
    contract.Block(
        name="attention gate",
        make=lambda: kd.nn.AttentionGate(4, norm=None),
        inputs=((3, 3, 2), (3, 3, 5)),
        output=(3, 3, 2),
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
]


@contract.parametrize(BLOCKS)
def test_blocks_keep_the_contract(block):
    contract.check(block)
