"""Images as lists of patches."""

from __future__ import annotations

import einops
import flax.linen as nn

from kauldron.ktyping import Array, Float, typechecked
from kauldron.modules import _logical_axes


class Patchify(nn.Module):
    """Cuts an image into patches and flattens each, `(row column channel)`.

    Attributes:
      patch_size: Height and width of a patch, in pixels; divide those of the image.

    Raises (when called):
      ValueError: If they do not.
    """

    patch_size: tuple[int, int]

    @nn.compact
    @typechecked
    def __call__(self, images: Array["*b h w c"]) -> Array["*b n d"]:
        rows, columns = check_patch_size(self.patch_size, images.shape)
        return einops.rearrange(
            images,
            "... (n hp) (m wp) c -> ... (n m) (hp wp c)",
            hp=rows,
            wp=columns,
        )


class PatchifyEmbed(nn.Module):
    """Cuts an image into patches and embeds each by a linear map, a token.

    Attributes:
      patch_size: Height and width of a patch, in pixels; divide those of the image.
      hidden_size: Features of a token.

    Raises (when called):
      ValueError: If they do not. (The published one drops the pixels that are left over.)

    Reference: Dosovitskiy et al. 2020, An Image is Worth 16x16 Words, arXiv:2010.11929.
    """

    patch_size: tuple[int, int]
    hidden_size: int

    @nn.compact
    @typechecked
    def __call__(self, images: Float["*b h w c"]) -> Float["*b n {self.hidden_size}"]:
        patch_size = check_patch_size(self.patch_size, images.shape)
        axes = (None, None, "conv_in", "embed")
        grid = nn.Conv(
            self.hidden_size,
            kernel_size=patch_size,
            strides=patch_size,
            padding="VALID",
            kernel_init=_logical_axes.with_logical_axes(
                nn.initializers.lecun_normal(), axes
            ),
            bias_init=_logical_axes.with_logical_axes(nn.initializers.zeros, axes[-1:]),
            name="patchifier",
        )(images)
        return einops.rearrange(grid, "... n m d -> ... (n m) d")


def check_patch_size(
    patch_size: tuple[int, int], shape: tuple[int, ...]
) -> tuple[int, int]:
    """Returns height and width of a patch.

    Raises:
      ValueError: If patches do not fill an image of the shape `(..., h, w, c)`.
    """
    rows, columns = patch_size
    height, width = shape[-3:-1]
    if height % rows or width % columns:
        raise ValueError(
            f"Patches of {rows} x {columns} pixels do not fill an image of {height} x "
            f"{width}: the patch size must divide it. Resize or pad the images to "
            f"{-(-height // rows) * rows} x {-(-width // columns) * columns}, or choose "
            "another `patch_size`."
        )
    return rows, columns
