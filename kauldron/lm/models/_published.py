"""A published model: a Hugging Face folder or a GGUF file, read when it is asked for."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from kauldron import checkpoints
from kauldron import modules as nn
from kauldron.ktyping import PyTree
from kauldron.lm.models import _config_json, _gguf_weights, _param_specs
from kauldron.lm.models._errors import ModelError
from kauldron.lm.text import gguf_files
from kauldron.lm.text._tokenizer import Tokenizer

CONFIG = "config.json"
_GENERATION = "generation_config.json"
_HEAD = ("lm_head.weight", "output.weight")


@dataclasses.dataclass(frozen=True)
class PublishedModel:
    """Config, weights and tokenizer of a model, none of them read yet.

    Attributes:
      path: The folder, or the GGUF file.
      config: Content of `config.json`; of a GGUF file, what it would be.
      layout: Of the weights, of `kd.ckpts.pretrained.LAYOUTS`.
      header: Of the GGUF file, if it is one.
    """

    path: pathlib.Path
    config: Mapping[str, Any] = dataclasses.field(repr=False)
    layout: str
    header: gguf_files.GgufFile | None = dataclasses.field(default=None, repr=False)

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> PublishedModel:
        """Reads the config of a Hugging Face folder, or the header of a GGUF file.

        Raises:
          ModelError: If there is none, or the family is not known.
          GgufError: If the GGUF file is damaged.
        """
        path = pathlib.Path(path)
        if path.suffix == gguf_files.SUFFIX:
            file = gguf_files.GgufFile.open(path)
            config = _gguf_weights.config_of_gguf(file)
            return cls(path, config, _gguf_weights.layout_of_gguf(file), file)
        config = _read_json(path / CONFIG)
        where = repr(str(path / CONFIG))
        return cls(path, config, _config_json.family_of_config(config, where).layout)

    @property
    def _where(self) -> str:
        return repr(str(self.path if self.header else self.path / CONFIG))

    @property
    def context_length(self) -> int:
        """The most tokens of a row that the model was made for."""
        return _config_json.context_length(self.config, self._where)

    @functools.cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end what the model generates, as its config says."""
        more = {}
        if (self.path / _GENERATION).is_file():
            more = _read_json(self.path / _GENERATION)
        found: list[int] = []
        for config in (more, self.config):
            ids = config.get("eos_token_id")
            found += ids if isinstance(ids, list) else [] if ids is None else [ids]
        return tuple(dict.fromkeys(found))

    def model(self, **options: Any) -> nn.CausalLM:
        """Returns the model.

        Args:
          **options: As for `kd.nn.decoder`: `tokens`, `positions`, `segment_ids`,
            `scan_layers`, `remat`, `dtype`, `param_dtype`.

        Raises:
          ModelError: If the config lacks a value, or has one that is not known here.
        """
        return _config_json.model_of_config(self.config, where=self._where, **options)

    def weights(
        self, *, has_tied_head: bool, into: str = "", **options: Any
    ) -> checkpoints.PretrainedWeights:
        """Returns what fills a model, as a whole or as a part of another one.

        Args:
          has_tied_head: Whether the head of the model to fill is its embedding.
          into: Path of the decoder in the model.
          **options: Others of `kd.ckpts.PretrainedWeights`, such as `resize`.
        """
        files = self._files
        ignored = [*options.pop("ignore_restored_keys", ())]
        if has_tied_head:  # some files have the embedding once more, as a head
            ignored += [name for name in _HEAD if name in files.specs()]
        return checkpoints.PretrainedWeights(
            path=files,
            layout=self.layout,
            into=into,
            ignore_restored_keys=ignored,
            **options,
        )

    def params(self, model: nn.CausalLM, *, sharding: Any = None) -> PyTree:
        """Returns the parameters of `model`, each read to where it is needed.

        Args:
          model: What `model()` returns.
          sharding: From the shapes of the parameters to their shardings, such as
            `kd.sharding.FSDPSharding()`, or one sharding for all; by default all
            devices have everything.

        Raises:
          CheckpointError: If the files are damaged, or do not fit the model.
        """
        specs = _param_specs.param_specs(model, sharding)
        weights = self.weights(has_tied_head=model.has_tied_head)
        return weights.fill({"params": specs})["params"]

    def tokenizer(self) -> Tokenizer:
        """Returns the tokenizer.

        Raises:
          TokenizerError: If there is none, or it has more tokens than the model.
        """
        if self.header:
            tokenizer = Tokenizer.from_gguf(self.path)
        else:
            tokenizer = Tokenizer.from_folder(self.path)
        tokenizer.check_vocabulary(self.config["vocab_size"], self._where)
        return tokenizer

    @functools.cached_property
    def _files(self) -> Any:
        if self.header:
            return _gguf_weights.GgufWeights(self.header)
        return checkpoints.SafetensorsFiles(self.path)


def _read_json(path: pathlib.Path) -> dict[str, Any]:
    if not path.is_file():
        raise ModelError(
            f"There is no {path.name!r} in {str(path.parent)!r}: a folder in the layout "
            "of Hugging Face has it beside its weights."
        )
    try:
        content = json.loads(path.read_text("utf-8"))
    except ValueError as e:
        raise ModelError(f"{str(path)!r} is no JSON: {e}.") from None
    if not isinstance(content, dict):
        raise ModelError(f"{str(path)!r} must hold a JSON object.")
    return content


def save(
    path: str | os.PathLike[str],
    model: nn.CausalLM,
    params: PyTree,
    tokenizer: Tokenizer | None = None,
    *,
    context_length: int = 2048,
    max_shard_bytes: int = 5_000_000_000,
) -> pathlib.Path:
    """Writes a folder in the layout of Hugging Face, which transformers reads.

    Args:
      path: The folder.
      model: Of a published family, as `kd.nn.decoder` makes it.
      params: Its parameters.
      tokenizer: Its tokenizer; without one, none is written.
      context_length: The most tokens of a row that the model is for.
      max_shard_bytes: How large a file of weights may be.

    Raises:
      ModelError: If the model is of no published family; nothing is written then.
    """
    config = _config_json.config_of_model(model)
    if tokenizer is not None:
        tokenizer.check_vocabulary(model.vocab_size, "The model")
    path = pathlib.Path(path)
    path.mkdir(parents=True, exist_ok=True)
    checkpoints.save_pretrained(
        {"params": params},
        path / "model.safetensors",
        _config_json.family_of_config(config, "the model").layout,
        max_shard_bytes=max_shard_bytes,
    )
    if tokenizer is not None:
        tokenizer.save(path)
    write_config(
        path,
        model,
        context_length=context_length,
        tokenizer=tokenizer,
        dtype=_dtype_name(params),
    )
    return path


def write_config(
    path: str | os.PathLike[str],
    model: nn.CausalLM,
    *,
    context_length: int = 2048,
    tokenizer: Tokenizer | None = None,
    dtype: str = "float32",
) -> None:
    """Writes the `config.json` of a model to a folder; see `save`.

    Args:
      path: The folder.
      model: Of a published family.
      context_length: The most tokens of a row that the model is for.
      tokenizer: Whose special tokens are named.
      dtype: Of the weights.
    """
    config = _config_json.config_of_model(model)
    family = _config_json.family_of_config(config, "the model")
    if family.has_rope:
        config[family.length] = context_length
    config["dtype"] = config["torch_dtype"] = dtype
    for role in ("bos", "eos", "pad") if tokenizer is not None else ():
        config[f"{role}_token_id"] = getattr(tokenizer, f"{role}_id")
    text = json.dumps(config, indent=2)
    (pathlib.Path(path) / CONFIG).write_text(f"{text}\n", "utf-8")


def _dtype_name(params: PyTree) -> str:
    dtypes = {np.dtype(leaf.dtype).name for leaf in jax.tree.leaves(params)}
    return dtypes.pop() if len(dtypes) == 1 else "float32"
