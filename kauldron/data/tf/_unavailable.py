"""Published classes that require TensorFlow: they say what to use instead."""

from __future__ import annotations

from typing import Any

from kauldron._base import errors


class NeedsTensorFlowError(errors.UserError, NotImplementedError):
    """Something that only `tf.data` can do was asked for."""


def _unavailable(name: str, instead: str) -> type:
    message = f"`kd.data.tf.{name}` needs TensorFlow, which Kauldron does without. "

    def fail(*args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        raise NeedsTensorFlowError(message + instead)

    namespace = {
        "__doc__": f"Not available. {instead}",
        "__module__": __name__,
        "__init__": fail,
        "__init_subclass__": classmethod(fail),
    }
    return type(name, (), namespace)


_OWN_SOURCE = (
    "Give the data random access: derive from `kd.data.py.DataSourceBase` with a "
    "`data_source` that has `__len__` and `__getitem__`."
)

TFDataPipeline = _unavailable("TFDataPipeline", _OWN_SOURCE)
WithShuffleBuffer = _unavailable(
    "WithShuffleBuffer",
    f"{_OWN_SOURCE} `shuffle=True` then shuffles the whole dataset.",
)
SeqIOTask = _unavailable(
    "SeqIOTask",
    "Write the task's examples to ArrayRecord or Parquet files, and read them with "
    "`kd.data.py.ArrayRecord` or `kd.data.py.Parquet`.",
)
SeqIOMixture = _unavailable(
    "SeqIOMixture",
    "Write each task's examples to ArrayRecord or Parquet files, and mix them with "
    "`kd.data.py.Mix`.",
)
ElementWiseRandomTransform = _unavailable(
    "ElementWiseRandomTransform",
    "Derive from `kd.data.py.ElementWiseRandomTransform`, whose "
    "`random_map_element(element, rng)` gets a NumPy generator.",
)
