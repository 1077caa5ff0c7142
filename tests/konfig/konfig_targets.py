"""Things for configs to name in tests."""

import collections
import dataclasses
import enum
import textwrap
from typing import Any, Literal, NamedTuple


@dataclasses.dataclass(frozen=True, kw_only=True)
class Net:
    inputs: str
    features: tuple[int, ...] = (8,)
    dtype: str = "float32"
    rate: float = 0.1
    act: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator:
    run: Any = None
    num_batches: int | None = None
    metrics: Any = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    tags: Any = ()
    is_quiet: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Trainer:
    model: Any
    seed: int = 0
    num_train_steps: int | None = None
    stop_after_steps: int | None = None  # noqa: UP045: the old spelling is used too
    log_metrics_every: int = 100
    optimizer: Any = None
    schedules: Any = dataclasses.field(default_factory=dict)
    evals: Any = dataclasses.field(default_factory=dict)
    aux: Any = dataclasses.field(default_factory=dict)
    workdir: Any = None
    setup: Setup = Setup()
    mode: Literal["train", "eval"] = "train"
    xm_job: Any = None
    raw_cfg: Any = None

    __konfig_resolve_exclude_fields__ = ("xm_job",)

    def __post_konfig_resolve__(self, cfg):
        object.__setattr__(self, "raw_cfg", cfg)


def adam(learning_rate, b1: float = 0.9, b2: float = 0.999):
    return ("adam", learning_rate, b1, b2)


def decay(rate: "int | float | list[float]" = 0.5, name: "str | float" = 1.0):
    return ("decay", rate, name)


def pad(padding: "str | list[int]" = "SAME", name: str = "x"):
    return ("pad", padding, name)


def cosine(init_value: float, decay_steps: int):
    return ("cosine", init_value, decay_steps)


class Box:
    """Remembers what it was made with; equal if that is."""

    def __init__(self, *args, **kwargs):
        self.args = args
        self.kwargs = kwargs

    def __eq__(self, other):
        return (
            isinstance(other, Box)
            and self.args == other.args
            and self.kwargs == other.kwargs
        )

    def __hash__(self):
        return hash((self.args, tuple(sorted(self.kwargs))))

    def __repr__(self):
        return f"Box{self.args}{self.kwargs}"

    @classmethod
    def made(cls, value):
        return cls(value)


class Picky:
    def __init__(self, error):
        raise error("that is not picky enough")


class Color(enum.Enum):
    RED = "red"


class Pair(NamedTuple):
    left: Any
    right: Any


Counter = collections.Counter


@dataclasses.dataclass(frozen=True)
class Leaf:
    size: int = 3


class Opaque:
    pass


@dataclasses.dataclass(frozen=True)
class WithDefaults:
    items: Any = dataclasses.field(default_factory=lambda: [1, 2])
    made: Leaf = dataclasses.field(default_factory=Leaf)
    opaque: Any = dataclasses.field(default_factory=Opaque)
    function: Any = textwrap.dedent
    empty: Any = dataclasses.field(default_factory=dict)
    _private: int = 0


@dataclasses.dataclass(frozen=True)
class Launched:
    __konfig_resolve_exclude_fields__ = ("job",)

    job: Any = None
    seed: int = 0
