"""Makes `monai_numbers.npz`: what MONAI's inferer gives for a function of patches.

Needs torch and monai 1.6.1, which the tests don't:

    python tests/volumes/patches/make_monai_numbers.py
"""

from __future__ import annotations

import pathlib

import numpy as np
import torch
from monai.inferers import sliding_window_inference

SHAPE, SIZE = (11, 8, 13), (6, 8, 5)


def with_edges(patches: torch.Tensor) -> torch.Tensor:
    """Gives something else at each place of a patch."""
    ramp = torch.arange(patches[0, 0].numel(), dtype=torch.float32)
    return patches * torch.cos(ramp.reshape(patches.shape[2:]))


def main() -> None:
    volume = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    arrays = {"volume": volume}
    for mode in ("constant", "gaussian"):
        for overlap in (0.25, 0.6):
            result = sliding_window_inference(
                torch.from_numpy(volume)[None, None],
                SIZE,
                3,
                with_edges,
                overlap=overlap,
                mode=mode,
            )
            arrays[f"{mode}_{overlap}"] = result[0, 0].numpy()
    path = pathlib.Path(__file__).with_name("monai_numbers.npz")
    np.savez_compressed(path, **arrays)


if __name__ == "__main__":
    main()
