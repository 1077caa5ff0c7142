"""From a model, or its name, to the core of an engine."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from kauldron import lm
from kauldron import modules as nn
from kauldron._base import errors
from kauldron.ktyping import PyTree
from kauldron.serve.device._programs import Programs
from kauldron.serve.engine import _sizes
from kauldron.serve.engine._core import Core, Options

# Of models that don't say how far they look.
_CONTEXT_LENGTH = 4096
_WEIGHTS_DTYPES = ("bfloat16", "int8")

Model = str | os.PathLike[str] | lm.TextGenerator | tuple[nn.CausalLM, PyTree, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class EngineSizes:
    """How large an engine is; see `Engine`."""

    num_slots: int
    context_length: int | None
    num_pages: int | None
    page_size: int
    cache_gb: float | None
    cache_dtype: Any
    decode_widths: Sequence[int]
    chunk_sizes: Sequence[int]
    token_budget: int
    steps_per_visit: int
    max_waiting: int
    has_prefixes: bool
    num_drafts: int
    weights_dtype: str | None
    attention: str

    def __post_init__(self) -> None:
        for name in (
            *("num_slots", "context_length", "num_pages", "page_size", "token_budget"),
            *("steps_per_visit", "max_waiting"),
        ):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise _sizes.EngineError(f"`{name}` must be >= 1: got {value}.")
        if self.num_pages is not None and self.cache_gb is not None:
            raise _sizes.EngineError(
                "The pages are as many as `num_pages` says, or as `cache_gb` has room "
                "for: got both."
            )
        if self.weights_dtype not in (None, *_WEIGHTS_DTYPES):
            names = ", ".join(map(repr, _WEIGHTS_DTYPES))
            raise _sizes.EngineError(
                f"`weights_dtype` must be {names} or None: got {self.weights_dtype!r}."
                f"{errors.did_you_mean(self.weights_dtype, _WEIGHTS_DTYPES)}"
            )
        self._check_attention()
        if not self.chunk_sizes or min(self.chunk_sizes) < 1:
            raise _sizes.EngineError(
                f"`chunk_sizes` must be numbers >= 1: got {tuple(self.chunk_sizes)}."
            )

    def _check_attention(self) -> None:
        if self.attention not in ("gather", "kernel"):
            raise _sizes.EngineError(
                f"`attention` must be 'gather' or 'kernel': got {self.attention!r}."
            )
        if self.attention == "gather":
            return
        if (backend := jax.default_backend()) not in ("gpu", "tpu"):
            raise _sizes.EngineError(
                f"`attention='kernel'` needs a GPU or a TPU, and this is a {backend}: "
                "'gather' is for all."
            )
        if self.num_drafts:
            raise _sizes.EngineError(
                "Drafts are verified by `attention='gather'`, and a kernel rounds "
                "otherwise: answers would depend on them. Use `num_drafts=0`."
            )


def generator_of(model: Model, trusted: Iterable[str] = ()) -> lm.TextGenerator:
    """Returns the model with its parameters and its tokenizer; see `Engine`."""
    if isinstance(model, lm.TextGenerator):
        return model
    if isinstance(model, tuple):
        decoder, params, tokenizer = model
        return lm.TextGenerator(model=decoder, params=params, tokenizer=tokenizer)
    return lm.text_generator(model, trusted=trusted)


def name_of(model: Model) -> str:
    """Returns the name that a model is served under, unless another is given."""
    if isinstance(model, str | os.PathLike):
        return pathlib.Path(os.fspath(model)).name or os.fspath(model)
    return "model"


def core_of(
    generator: lm.TextGenerator,
    sizes: EngineSizes,
    adapters: Mapping[str, tuple[lm.LoRA, PyTree]],
    *,
    owns_params: bool = False,
    precision: Any = None,
) -> Core:
    """Returns programs, schedule and thread for a model; nothing is compiled yet.

    With `owns_params`, the parameters of the generator are given away.

    Raises:
      EngineError: If the sizes do not fit, or the memory is too small.
    """
    rounds, cache_dtype = False, sizes.cache_dtype
    if sizes.weights_dtype is not None:
        generator = _converted(generator, sizes.weights_dtype, owns_params)
        cache_dtype = cache_dtype or jnp.bfloat16
        rounds = sizes.weights_dtype == "bfloat16" and jax.default_backend() == "cpu"
    if rounds:
        # A CPU has instructions to multiply these numbers, and none to add them.
        model = generator.model.clone(dtype=jnp.float32)
        generator = dataclasses.replace(generator, model=model)
    length = _context_length(generator, sizes.context_length)
    num_pages = sizes.num_pages
    if num_pages is None:
        num_pages = _sizes.num_pages(
            generator.model,
            page_size=sizes.page_size,
            context_length=length,
            num_slots=sizes.num_slots,
            dtype=cache_dtype,
            cache_gb=sizes.cache_gb,
        )
    programs = Programs(
        generator.model,
        generator.params,
        num_pages=num_pages,
        page_size=sizes.page_size,
        num_slots=sizes.num_slots,
        max_pages_per_row=min(math.ceil(length / sizes.page_size), num_pages),
        decode_widths=sizes.decode_widths,
        chunk_sizes=sizes.chunk_sizes,
        max_steps=max(sizes.steps_per_visit, sizes.num_drafts + 1),
        cache_dtype=cache_dtype,
        adapters=adapters,
        owns_params=owns_params,
        attention=cast(Any, sizes.attention),
        precision=precision,
        rounds=rounds,
    )
    stop_ids = tuple(
        dict.fromkeys([*generator.tokenizer.stop_ids, *generator.stop_ids])
    )
    options = Options(
        context_length=length,
        stop_ids=stop_ids,
        steps_per_visit=sizes.steps_per_visit,
        token_budget=sizes.token_budget,
        max_waiting=sizes.max_waiting,
        has_prefixes=sizes.has_prefixes,
        num_drafts=sizes.num_drafts,
    )
    return Core(programs, generator.tokenizer, options)


def _context_length(generator: lm.TextGenerator, asked: int | None) -> int:
    bounds = [generator.context_length, generator.model.max_positions]
    bound = min((x for x in bounds if x is not None), default=None)
    if asked is not None and bound is not None and asked > bound:
        raise _sizes.EngineError(
            f"`context_length` must be within the {bound} tokens of the model: got "
            f"{asked}."
        )
    return asked or bound or _CONTEXT_LENGTH


def _converted(
    generator: lm.TextGenerator, dtype: str, owns_params: bool
) -> lm.TextGenerator:
    """Returns a model whose weights are kept in another dtype; see `Engine`.

    Those it had are deleted if they were given away.
    """
    model, names = generator.model, {}
    if dtype == "int8":
        names = nn.logical_axes(model, np.zeros((1, 1), np.int32))["params"]
    params = {}
    # Layer by layer, so that never all are there twice.
    for part, old in generator.params.items():
        if dtype == "int8":
            params |= lm.quantize({part: old}, {part: names[part]})
        else:
            params[part] = jax.tree.map(lambda x: jnp.asarray(x, dtype), old)
        kept = {id(x) for x in jax.tree.leaves(jax.block_until_ready(params[part]))}
        for leaf in jax.tree.leaves(old) if owns_params else ():
            if id(leaf) not in kept:
                leaf.delete()
    return dataclasses.replace(generator, params=params)
