"""The table of one GPU, in one command: ViT-B/16 and a decoder of 124 M parameters, in bf16.

    JAX_PLATFORMS=cuda,cpu python -m tests.benchmarks.gpu

prints, for each, the time of a step over that of the same maths in a hand-written jitted
loop (both take turns in one process), and the share of the floating point operations that
the device can do ("model FLOPs utilisation"):

    MFU = tokens * (6 * N + 12 * layers * features * length) / (secs * peak)

`N` are the parameters of matrices that each token is multiplied by (2 operations each
forward, 4 backward; embeddings that are looked up don't count, a head does); the second
term is attention, `Q K^T` and its product with `V`, all positions with all others; masked
ones count too, as is usual. `peak` is that of dense bf16 matrices.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from kauldron import kd
from tests.benchmarks import clocks, loops
from tests.benchmarks import figures as figures_lib

# Dense bf16, TFLOP/s, from the data sheets; others are given by `--peak-tflops`.
_PEAK_TFLOPS = {"H200": 989.0, "H100": 989.0, "A100": 312.0, "L4": 121.0}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    """A model with a batch.

    Attributes:
      name: In the table.
      model: Gets `batch.x`.
      batch: `x` and `label`.
      num_layers: Blocks with attention.
      features: Width of attention.
      length: Tokens of an example.
      looked_up: Names of parameters that are no matrix which tokens are multiplied by.
    """

    name: str
    model: Any
    batch: dict[str, np.ndarray]
    num_layers: int
    features: int
    length: int
    looked_up: tuple[str, ...]

    def num_flops(self) -> float:
        """Floating point operations of a step."""
        x = jax.eval_shape(lambda: self.batch["x"])
        params = jax.eval_shape(self.model.init, jax.random.key(0), x)["params"]
        num_params = sum(
            leaf.size
            for path, leaf in jax.tree_util.tree_leaves_with_path(params)
            if leaf.ndim > 1
            and not any(
                name in jax.tree_util.keystr(path) for name in ("bias", *self.looked_up)
            )
        )
        of_attention = 12 * self.num_layers * self.features * self.length
        return len(self.batch["x"]) * self.length * (6 * num_params + of_attention)


def vit(variant: str = "ViT-B/16", *, batch_size: int = 256, size: int = 224) -> Case:
    """A classifier of images."""
    rng = np.random.default_rng(0)
    model = kd.nn.VitClassifier.from_variant_str(
        variant, num_classes=1000, image="batch.x"
    )
    encoder = kd.nn.VitEncoder.from_variant_str(variant)
    patch = int(variant.rpartition("/")[2])
    return Case(
        name=f"{variant}, {batch_size} images of {size}²",
        model=model,
        batch={
            "x": rng.standard_normal((batch_size, size, size, 3), np.float32),
            "label": rng.integers(1000, size=(batch_size, 1), dtype=np.int32),
        },
        num_layers=len(encoder.layers),
        features=encoder.embedding.hidden_size,
        length=(size // patch) ** 2,
        looked_up=("pos", "head"),  # the head sees an example, not its tokens
    )


def decoder(
    *,
    batch_size: int = 32,
    length: int = 1024,
    vocab_size: int = 50_304,
    features: int = 768,
    num_layers: int = 12,
    num_heads: int = 12,
) -> Case:
    """A language model of the size of GPT-2."""
    rng = np.random.default_rng(0)
    tokens = rng.integers(vocab_size, size=(batch_size, length + 1), dtype=np.int32)
    model = kd.nn.decoder(
        "gpt2",
        vocab_size=vocab_size,
        features=features,
        num_layers=num_layers,
        num_heads=num_heads,
        hidden_features=4 * features,
        max_positions=length,
        tokens="batch.x",
    )
    return Case(
        name=f"decoder, {batch_size} rows of {length:,} tokens",
        model=model,
        batch={"x": tokens[:, :-1], "label": tokens[:, 1:, None]},
        num_layers=num_layers,
        features=features,
        length=length,
        looked_up=("pos",),
    )


def measure(
    case: Case,
    peak_tflops: float,
    figures: figures_lib.Recorder,
    *,
    num_steps: int = 20,
    num_rounds: int = 7,
) -> None:
    """Adds the ratio to the raw loop, and the utilisation."""
    raw = loops.RawLoop(case.model, case.batch, dtype="bfloat16")
    with tempfile.TemporaryDirectory() as folder:
        secs = loops.in_turn(
            folder,
            case.batch,
            {"raw": raw.run},
            num_steps=num_steps,
            num_rounds=num_rounds,
            model=case.model,
            precision="bf16",
        )
    raw_ms = clocks.medians(secs["raw"]).wall * 1e3
    figures.ratio(
        f"{case.name}: step",
        secs["ours"],
        secs["raw"],
        against=f"the hand-written jitted loop ({raw_ms:.3g} ms a step)",
        budget=1.01,
    )
    flops = case.num_flops()
    figures.number(
        f"{case.name}: MFU ({flops / 1e12:.3g} TFLOP a step, peak {peak_tflops:g} TFLOP/s)",
        [100 * flops / (x.wall * peak_tflops * 1e12) for x in secs["ours"]],
        "%",
        budget=55,
        is_more_better=True,
    )


def main(arguments: Sequence[str], cases: Sequence[Case] | None = None) -> int:
    """Measures, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--peak-tflops", type=float, help="dense bf16, of the device")
    parser.add_argument("--steps", type=int, default=20, help="of a round")
    parser.add_argument("--rounds", type=int, default=7)
    flags = parser.parse_args(arguments)
    device = jax.devices()[0]
    peak = flags.peak_tflops or _peak_of(device.device_kind)
    if peak is None:
        print(
            f"The peak of {device.device_kind!r} is not known here: give it by "
            f"--peak-tflops. Known are: {', '.join(_PEAK_TFLOPS)}."
        )
        return 2
    figures = figures_lib.Recorder("gpu.py")
    for case in cases or (vit(), decoder()):
        measure(case, peak, figures, num_steps=flags.steps, num_rounds=flags.rounds)
    command = " ".join(["python -m tests.benchmarks.gpu", *arguments])
    run = figures_lib.describe(command, figures.collected)
    run["machine"]["processor"] += f" with {device.device_kind}"
    figures_lib.write(run, figures_lib.LATEST.with_name("benchmarks_gpu.json"))
    print(figures_lib.table([run]))
    return 0


def _peak_of(kind: str) -> float | None:
    return next((peak for name, peak in _PEAK_TFLOPS.items() if name in kind), None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
