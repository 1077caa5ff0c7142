"""The README of an exported folder: ten lines of Python that load and call it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_STABLEHLO = """\
import jax
from jax import export, numpy as jnp
from safetensors.numpy import load_file

with open("model.stablehlo", "rb") as f:
    program = export.deserialize(bytearray(f.read()))
weights = jax.device_put(load_file("weights.safetensors"))
model = jax.jit(program.call)

inputs = {inputs}
outputs = model(weights, inputs{key})
print({{name: x.shape for name, x in outputs.items()}})
"""

_ONNX = """\
import numpy as np
import onnxruntime

model = onnxruntime.InferenceSession("model.onnx")
inputs = {inputs}
names = [output.name for output in model.get_outputs()]
outputs = dict(zip(names, model.run(names, inputs)))
print({{name: x.shape for name, x in outputs.items()}})
"""

_NEEDS = {
    "stablehlo": "`pip install jax flatbuffers safetensors`",
    "onnx": "`pip install onnxruntime numpy`",
}


def text(spec: Mapping[str, Any]) -> str:
    """Returns the README of a folder.

    Args:
      spec: What is in its `spec.json`.
    """
    kind = spec["program"]["format"]
    code, module = (_STABLEHLO, "jnp") if kind == "stablehlo" else (_ONNX, "np")
    code = code.format(
        inputs=_example(spec["inputs"], module),
        key=", jax.random.key_data(jax.random.key(0))" if spec["key"] else "",
    )
    lines = [
        f"# {spec['model']}, after {spec['step']} updates",
        "",
        f"In this folder, with {_NEEDS[kind]}:",
        "",
        "```python",
        code.rstrip(),
        "```",
        "",
        *_table("input", spec["inputs"]),
        "",
        *_table("output", spec["outputs"]),
        "",
        *_notes(spec),
    ]
    return "\n".join(lines)


def _example(inputs: Mapping[str, Any], module: str) -> str:
    parts = []
    for name, entry in inputs.items():
        shape = tuple(2 if isinstance(n, str) else n for n in entry["shape"])
        parts.append(f'"{name}": {module}.zeros({shape}, "{entry["dtype"]}")')
    return f"{{{', '.join(parts)}}}"


def _table(title: str, arrays: Mapping[str, Any]) -> Sequence[str]:
    rows = [f"| {title} | dtype | shape | in a batch |", "|---|---|---|---|"]
    for name, entry in arrays.items():
        shape = " ".join(map(str, entry["shape"]))
        seen = entry.get("range_in_a_batch")
        shown = f"{seen[0]:.4g} to {seen[1]:.4g}" if seen else ""
        rows.append(f"| `{name}` | {entry['dtype']} | `[{shape}]` | {shown} |")
    return rows


def _notes(spec: Mapping[str, Any]) -> Sequence[str]:
    program = spec["program"]
    notes = ["- `b` is the number of examples: any." if _any_size(spec) else ""]
    if program["format"] == "stablehlo":
        notes.append(
            f"- For {', '.join(program['platforms'])}. Written by jax "
            f"{spec['versions']['jax']}; that version and newer ones read it, by the "
            "guarantee of `jax.export` those of the next six months."
        )
    if spec["key"]:
        notes.append(
            "- The model draws random numbers: another key, other predictions."
        )
    if spec["quantized"]:
        notes.append(
            "- Kernels are in int8, with a scale per output channel; `spec.json` says what "
            "is not, and how far predictions differ for it."
        )
    if not spec["differences"]:
        notes.append(
            "- Its predictions were not compared with the model's: where it was written, "
            "it could not run."
        )
    if spec["preprocessing"]:
        notes.append(
            "- The program begins where the data pipeline ends. Do to inputs what that "
            "did:"
        )
        notes += [f"  - `{line}`" for line in spec["preprocessing"]]
    if spec["labels"]:
        notes.append(f"- Classes: {', '.join(map(str, spec['labels']))}.")
    return [*filter(None, notes), ""]


def _any_size(spec: Mapping[str, Any]) -> bool:
    return any(isinstance(n, str) for x in spec["inputs"].values() for n in x["shape"])
