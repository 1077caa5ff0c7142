"""Histogram, point cloud, text and figure summaries."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import einops
import flax.struct
import jax
import jax.numpy as jnp
import numpy as np

from kauldron import kontext, metrics
from kauldron.ktyping import Array, Scalar, UInt8, typechecked
from kauldron.summaries import _pictures, _values


@dataclasses.dataclass(frozen=True, kw_only=True)
class HistogramSummary(metrics.Metric):
    """Distribution of all values. In an evaluation, all are kept in host memory.

    Attributes:
      tensor: Key to values of any shape.
      num_buckets: Number of buckets of equal width.

    Returns of `compute`: a `Histogram`.

    Raises:
      ValueError: If there are no values.
    """

    tensor: kontext.Key = kontext.REQUIRED
    num_buckets: int = 30

    @flax.struct.dataclass
    class State(metrics.AutoState["HistogramSummary"]):
        """All values."""

        values: Array["n"] = metrics.concat_field()

        def compute(self) -> Any:
            values = super().compute().values
            if values is None:
                return {}
            num_buckets = self.parent.num_buckets
            return _values.Histogram(tensor=values, num_buckets=num_buckets)

    @typechecked
    def get_state(self, tensor: Array | Scalar) -> State:
        tensor = jnp.asarray(tensor)
        if tensor.size == 0:
            raise ValueError(
                f"HistogramSummary needs values: key {self.tensor!r} has shape "
                f"{tensor.shape}."
            )
        return self.State(values=tensor.ravel())


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowPointCloud(metrics.Metric):
    """The first point clouds.

    Attributes:
      point_clouds: Key to positions, `Float["*b n 3"]`.
      point_colors: Key to colours, `Array["*b n 3"]`: integers in [0, 255], or floats
        in [0, 1]. Values outside are clipped, NaN is 0.
      configs: Options of whatever shows them, such as the camera.
      rearrange: Einops pattern to the shape `b n c`; all leading axes are flattened
        unless given.
      rearrange_kwargs: Sizes of the axes in `rearrange`.
      num_points: How many points of each to show, evenly chosen; `None` shows all.
      num_clouds: How many point clouds to show.

    Returns of `compute`: a `PointCloud`.

    Raises:
      ValueError: If the shapes don't fit.
    """

    point_clouds: kontext.Key = kontext.REQUIRED
    point_colors: kontext.Key | None = None
    configs: Mapping[str, Any] | None = None
    rearrange: str | None = None
    rearrange_kwargs: Mapping[str, int] | None = None
    num_points: int | None = None
    num_clouds: int = 5

    State = _pictures.FirstState

    @property
    def num_shown(self) -> int:
        """How many clouds of points are kept of an evaluation, the first ones."""
        return self.num_clouds

    @typechecked
    def get_state(
        self, point_clouds: Array["*a"], point_colors: Array["*a"] | None = None
    ) -> _pictures.FirstState:
        data = {"points": self._select(point_clouds)}
        if point_colors is not None:
            if point_colors.shape != point_clouds.shape:
                raise ValueError(
                    "ShowPointCloud needs a colour for each point: got colours "
                    f"{point_colors.shape} and points {point_clouds.shape}."
                )
            data["colors"] = self._select(point_colors)
        return self.State(data=data)

    def show(self, data: dict[str, np.ndarray]) -> _values.PointCloud:
        """Returns positions as `f32`, colours as `u8`."""
        colors = data.get("colors")
        if colors is not None and colors.dtype.kind in "iu":
            colors = np.clip(colors, 0, 255).astype(np.uint8)
        elif colors is not None:
            colors = np.clip(colors.astype(np.float32), 0, 1) * 255
            colors = np.round(np.nan_to_num(colors)).astype(np.uint8)
        return _values.PointCloud(
            point_clouds=data["points"].astype(np.float32),
            point_colors=colors,
            configs=self.configs,
        )

    def _select(self, points: Array) -> jax.Array:
        points = jnp.asarray(points)
        if self.rearrange is not None:
            kwargs = self.rearrange_kwargs or {}
            points = einops.rearrange(points, self.rearrange, **kwargs)
        if points.ndim < 2 or points.shape[-1] != 3:
            raise ValueError(
                f"ShowPointCloud needs `[*b n 3]`: key {self.point_clouds!r} has shape "
                f"{points.shape}."
            )
        points = points.reshape(-1, *points.shape[-2:])[: self.num_clouds]
        size = points.shape[1]
        if self.num_points is None or self.num_points >= size:
            return points
        return points[:, np.linspace(0, size - 1, self.num_points).astype(int)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowTexts(metrics.Metric):
    """The first texts.

    Attributes:
      texts: Key to texts: an array (or a list) of strings, which cannot pass through
        jit and is for evaluators of your own, or UTF-8 bytes `UInt8["*b n"]` filled up
        with zeros, which can.
      num_texts: How many to show.

    Returns of `compute`: an array of strings, `Array["n"]`.

    Raises:
      ValueError: If these are not texts.
    """

    texts: kontext.Key = kontext.REQUIRED
    num_texts: int = 5

    State = _pictures.FirstState

    @property
    def num_shown(self) -> int:
        """How many texts are kept of an evaluation, the first ones."""
        return self.num_texts

    @typechecked
    def get_state(self, texts: Array | Sequence[Any]) -> _pictures.FirstState:
        if isinstance(texts, UInt8) and texts.ndim:
            texts = texts.reshape(-1, texts.shape[-1])
            return self.State(data=texts[: self.num_texts])
        strings = np.asarray(texts)
        if strings.dtype.kind not in "OSU":
            raise ValueError(
                "ShowTexts needs strings, or UTF-8 bytes `u8[*b n]`: key "
                f"{self.texts!r} is {strings.dtype} {strings.shape}."
            )
        return self.State(data=strings.astype(object).ravel()[: self.num_texts])

    def show(self, data: np.ndarray) -> np.ndarray:
        """Returns the texts."""
        return np.array([_to_text(row) for row in data], dtype=object)


def _to_text(row: np.ndarray | bytes | str) -> str:
    if isinstance(row, np.ndarray):
        row = bytes(row).rstrip(b"\0")
    return row.decode("utf-8", "replace") if isinstance(row, bytes) else str(row)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ShowFigure(metrics.Metric):
    """A figure that a function draws with matplotlib.

    Attributes:
      function: Gets an array per input, NumPy, examples first; returns a
        `matplotlib.figure.Figure`. Runs on the host.
      inputs: Argument of the function -> key.
      num_examples: How many examples it gets (the first ones); `None` for all.
      dpi: Pixels per inch.

    Returns of `compute`: an image, `Float32["1 h w 3"]`.

    Raises:
      ImportError: If matplotlib is not installed.
      TypeError: If the function returns no figure.
    """

    function: Callable[..., Any]
    inputs: Mapping[str, kontext.Key] = kontext.REQUIRED
    num_examples: int | None = None
    dpi: int = 100

    State = _pictures.FirstState

    @property
    def num_shown(self) -> int | None:
        """How many examples are kept of an evaluation, the first ones."""
        return self.num_examples

    @typechecked
    def get_state(self, inputs: Mapping[str, Array]) -> _pictures.FirstState:
        data = {name: x[: self.num_examples] for name, x in dict(inputs).items()}
        return self.State(data=data)

    def show(self, data: dict[str, np.ndarray]) -> np.ndarray:
        """Returns the figure as an image."""
        try:
            from matplotlib import figure
            from matplotlib.backends import backend_agg
        except ImportError:
            raise ImportError(
                "ShowFigure needs matplotlib: `pip install matplotlib`."
            ) from None
        drawn = self.function(**data)
        if not isinstance(drawn, figure.Figure):
            raise TypeError(
                "The function of ShowFigure must return a matplotlib Figure: got "
                f"{type(drawn).__name__}."
            )
        drawn.set_dpi(self.dpi)
        canvas = backend_agg.FigureCanvasAgg(drawn)
        canvas.draw()
        pixels = np.asarray(canvas.buffer_rgba())[None, ..., :3]
        return pixels.astype(np.float32) / 255
