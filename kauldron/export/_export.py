"""`export`: a trained model as a folder with program, weights, spec and README."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from flax import linen as nn

from kauldron import checkpoints, sharding
from kauldron._base import errors, text_tables
from kauldron.data import utils as data_utils
from kauldron.export import (
    _folder,
    _measure,
    _onnx,
    _program,
    _quantize,
    _readme,
    _run_data,
    _spec,
    _stablehlo,
)
from kauldron.export._errors import ExportError
from kauldron.ktyping import PyTree
from kauldron.sharding import TrainState

_QUANTIZED = (None, "int8")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """A folder that was written.

    Attributes:
      path: The folder.
      spec: What is in its `spec.json`.
      differences: Name of a prediction -> how far it is from the model's.
    """

    path: epath.Path
    spec: Mapping[str, Any]
    differences: Mapping[str, _measure.Difference]

    def describe(self) -> str:
        """Returns what there is to know of it, a line per thing."""
        spec, weights = self.spec, self.spec["weights"]
        lines = [f"{os.fspath(self.path)}: step {spec['step']}"]
        for title in ("inputs", "outputs"):
            for name, entry in spec[title].items():
                shape = " ".join(map(str, entry["shape"]))
                lines.append(f"  {title[:-1]} {name}: {entry['dtype']}[{shape}]")
        saved = ""
        if spec["quantized"]:
            before = weights["bytes_as_trained"]
            share = 1 - weights["bytes"] / before
            saved = f", {share:.0%} less than the {text_tables.format_bytes(before)} as trained"
        lines.append(f"  weights: {text_tables.format_bytes(weights['bytes'])}{saved}")
        if spec["quantized"] is not None:
            lines.append(f"  in full precision: {_largest(weights['not_quantized'])}")
        if not self.differences:
            lines.append(
                f"  not compared with the model: the program is for "
                f"{', '.join(spec['program']['platforms'])}, and runs not here, on "
                f"{jax.default_backend()}"
            )
        on = "a batch of the run" if spec["compared_on_data"] else "made-up inputs"
        for name, x in self.differences.items():
            lines.append(
                f"  {name} on {on}: differs from the model by at most {x.max_abs:.3g} "
                f"(relative {x.relative:.3g})"
            )
        return "\n".join(lines)


def export(
    run: Any,
    state: TrainState,
    out: epath.PathLike,
    *,
    batch: PyTree | None = None,
    ds: Any = None,
    element_spec: Any = None,
    model_method: str | Callable[..., Any] | None = None,
    forward: _program.Forward | None = None,
    format: str = "stablehlo",
    platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    batch_size: int | None = None,
    quantize: str | None = None,
    labels: Sequence[str] | None = None,
    overwrite: bool = False,
) -> Written:
    """Writes a model as a folder that runs without its source.

    The program is the forward pass of an evaluation: dropout is off, statistics of batch
    normalisation are weights, the precision of the run is part of it. It takes
    `weights`, `inputs` and, if the model draws random numbers, a key, and returns name ->
    prediction. It is compared with the model before anything is written.

    Args:
      run: A `Trainer`, or a Flax model (then `batch` is needed).
      state: Its weights: `params` and `collections`.
      out: The folder; appears when it is complete.
      batch: Arrays or specs of a batch. Unless given, the first of `ds`.
      ds: A pipeline; `run.eval_ds` unless given.
      element_spec: Specs of a batch, for when `ds` cannot be read; those of `train_ds`
        unless given.
      model_method: Method of the model to call; `__call__` unless given.
      forward: Takes the place of the forward pass: index of a batch (`Int32[""]`), state,
        batch -> predictions.
      format: `'stablehlo'`, or `'onnx'` (needs `kauldron[onnx]`).
      platforms: For which the program is written, some of `cpu`, `cuda`, `rocm`, `tpu`.
      batch_size: Number of examples; `None` is any.
      quantize: `'int8'` stores kernels, the parameters of that name, in eight bits, with
        a scale per output channel; embeddings and the like stay as they are.
      labels: Names of the classes; those of the dataset unless given.
      overwrite: Whether an older export in `out` is replaced.

    Raises:
      ExportError: If something cannot be exported: names the module and what to do.
        Nothing was written then.
      ImportError: If a package is missing; names the extra.

    Example:

    ```python
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    from kauldron import kd

    model = kd.nn.Sequential(inputs="batch.x", outputs="y", layers=[nn.Dense(2)])
    batch = {"x": jnp.ones((4, 3))}
    params = model.init(jax.random.key(0), batch["x"])["params"]
    state = kd.train.TrainState(step=0, params=params)
    kd.export.export(model, state, "exported", batch=batch)
    assert kd.export.load("exported")(batch)["y"].shape == (4, 2)
    ```
    """
    _check_choices(format, quantize)
    platforms = _stablehlo.check_platforms(platforms)
    out = epath.Path(out)
    _folder.check_free(out, overwrite=overwrite)
    data = _data_of(run, batch, ds, element_spec)
    if labels is not None:
        data = dataclasses.replace(data, labels=list(labels))
    if quantize and not data.has_values:
        raise ExportError(
            f"`quantize={quantize!r}` is measured on real data: give a batch, or make "
            "`eval_ds` readable."
        )
    forward = forward or _forward_of(run, model_method)
    program = _program.make(forward, state, data.batch, batch_size=batch_size)
    weights = _host_weights(program, state)
    stored = _quantize.encode(weights) if quantize else weights
    if format == "onnx":
        built = _onnx.Built(program, weights, stored)
    else:
        built = _stablehlo.Built(program, weights, stored, platforms)
    inputs = _inputs_of(data, program)
    found = built.compare(inputs)
    spec = {
        "format": _spec.FORMAT,
        "version": _spec.VERSION,
        "model": type(getattr(run, "model", run)).__name__,
        "step": program.step,
        "inputs": _spec.inputs_spec(
            program.inputs.kept_specs,
            _spec.ranges_of(inputs) if data.has_values else {},
        ),
        "outputs": _spec.arrays_spec(built.outputs),
        "key": _spec.array_spec(_program.KEY_SPEC) if program.takes_key else None,
        "labels": data.labels,
        "preprocessing": list(data.transforms),
        "quantized": _quantize.quantized_names(stored) if quantize else None,
        "compared_on_data": data.has_values and bool(found),
        "differences": {name: dataclasses.asdict(x) for name, x in found.items()},
        "versions": _spec.versions() | built.versions,
    }
    with _folder.writing(out, overwrite=overwrite) as folder:
        spec["program"] = built.write(folder)
        spec["weights"] = _write_weights(folder, weights, stored, format)
        if quantize:
            spec["weights"]["not_quantized"] = _quantize.bytes_in_full_precision(stored)
        (folder / _spec.FILE).write_text(json.dumps(spec, indent=2))
        (folder / _spec.README_FILE).write_text(_readme.text(spec))
    return Written(path=out, spec=spec, differences=found)


def _data_of(
    run: Any, batch: PyTree | None, ds: Any, element_spec: Any
) -> _run_data.RunData:
    if batch is not None:
        return _run_data.RunData(batch=batch)
    if isinstance(run, nn.Module):
        raise ExportError(
            "Say what the model takes, by a batch or its specs: `batch={'image': ...}`."
        )
    specs = run.train_ds.element_spec if element_spec is None else element_spec
    return _run_data.read(run.eval_ds if ds is None else ds, specs)


def _forward_of(run: Any, method: str | Callable[..., Any] | None) -> _program.Forward:
    if isinstance(run, nn.Module):
        return _program.forward_of(run, method=method)
    return _program.forward_of(
        run.model,
        rng_streams=run.rng_streams,
        precision=run.precision,
        method=method,
    )


def _write_weights(
    folder: epath.Path,
    weights: Mapping[str, np.ndarray],
    stored: Mapping[str, np.ndarray],
    format: str,
) -> dict[str, Any]:
    """Writes the weights, if they are not in the program; returns their spec."""
    num_bytes = sum(x.nbytes for x in stored.values())
    entry: dict[str, Any] = {
        "num_parameters": sum(x.size for x in weights.values()),
        "bytes": num_bytes,
        "bytes_as_trained": sum(x.nbytes for x in weights.values()),
    }
    if format != "onnx":
        path = folder / _spec.WEIGHTS_FILE
        one_file = num_bytes + 1
        checkpoints.save_safetensors(stored, path, max_shard_bytes=one_file)
        entry["file"] = _spec.file_entry(path)
    return entry


def _host_weights(
    program: _program.Program, state: TrainState
) -> dict[str, np.ndarray]:
    variables = {"params": state.params, "collections": state.collections or {}}
    found = program.weights.flatten(variables)
    for name, array in found.items():
        if isinstance(array, jax.ShapeDtypeStruct):
            raise ExportError(
                f"The weights have no values: {name!r} is a `jax.ShapeDtypeStruct`. Give "
                "a state that was trained or restored."
            )
        if isinstance(array, jax.Array) and not array.is_fully_addressable:
            raise ExportError(
                f"The weight {name!r} is spread over several processes: export a "
                "checkpoint of the run in one process, `kauldron export --workdir=...`."
            )
        if jnp.issubdtype(array.dtype, jax.dtypes.extended):
            raise ExportError(
                f"The variable {name!r} holds random keys ({array.dtype}), which no file "
                "of weights can. Draw them with `self.make_rng(...)`."
            )
    return {k: np.array(v, order="C") for k, v in sharding.to_host(found).items()}


def _inputs_of(
    data: _run_data.RunData, program: _program.Program
) -> dict[str, np.ndarray]:
    """Returns inputs to compare on: of a real batch, or made up."""
    specs = program.inputs.kept_specs
    if not data.has_values:
        return _measure.example_inputs(specs)
    batch = data_utils.for_devices(data.batch)
    return _run_data.sized(program.inputs.flatten(batch), specs)


def _check_choices(format: str, quantize: str | None) -> None:
    if format not in _spec.PROGRAM_FILES:
        known = list(_spec.PROGRAM_FILES)
        raise ExportError(
            f"`format` is one of {known}: got {format!r}."
            f"{errors.did_you_mean(format, known)}"
        )
    if quantize not in _QUANTIZED:
        raise ExportError(f"`quantize` is None or 'int8': got {quantize!r}.")


def _largest(sizes: Mapping[str, int]) -> str:
    """Returns the total of some weights in bytes, and the largest by name."""
    shown = list(sizes.items())[:3]
    names = [
        f"{name} ({text_tables.format_bytes(num_bytes)})" for name, num_bytes in shown
    ]
    more = len(sizes) - len(shown)
    if more:
        names.append(f"{more} more")
    total = text_tables.format_bytes(sum(sizes.values()))
    return f"{total}: {', '.join(names)}" if names else "nothing"
