"""Writes `published.json`: configs and tensors as transformers saves tiny models.

`python -m tests.lm.models.make_published` needs torch and transformers (5.24 wrote the
file that is here). The models are those of `tests/modules/language`, whose weights are drawn from the
names of `kd.nn`; of each tensor, shape and checksum are kept.

With a folder as argument, it reads what `kd.lm.save` wrote instead, a folder for each
model, and compares the logits.
"""

import json
import pathlib
import sys
import tempfile
import zlib

import numpy as np
import torch
import transformers
from safetensors import safe_open

from tests.modules.language import families, make_fixture

_HERE = pathlib.Path(__file__).parent
_LANGUAGE = _HERE.parents[1] / "modules" / "language"


def _model(name):
    config = make_fixture._config(name)
    model = transformers.AutoModelForCausalLM.from_config(config).float().eval()
    for key, parameter in model.state_dict().items():
        if key == "lm_head.weight" and config.tie_word_embeddings:
            continue
        values = make_fixture._values(config, key, tuple(parameter.shape))
        parameter.copy_(torch.from_numpy(np.ascontiguousarray(values)))
    return model


def _saved(model):
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        path = pathlib.Path(folder)
        tensors = {}
        with safe_open(path / "model.safetensors", "np") as file:
            for name in sorted(file.keys()):
                x = file.get_tensor(name)
                tensors[name] = [list(x.shape), zlib.crc32(x.tobytes())]
        return {
            "config": json.loads((path / "config.json").read_text()),
            "tensors": tensors,
        }


def _write():
    published = {name: _saved(_model(name)) for name in families.FAMILIES}
    text = json.dumps(published, indent=0, sort_keys=True)
    (_HERE / "published.json").write_text(text + "\n")


def _compare(folder):
    expected = np.load(_LANGUAGE / "logits.npz")
    for name in families.FAMILIES:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder / name, attn_implementation="eager"
        )
        with torch.no_grad():
            tokens = torch.from_numpy(families.TOKENS)
            logits = model.float().eval()(tokens, use_cache=False).logits.numpy()
        print(name, np.abs(logits - expected[name]).max())
        np.testing.assert_allclose(logits, expected[name], atol=2e-5)


if __name__ == "__main__":
    _compare(pathlib.Path(sys.argv[1])) if sys.argv[1:] else _write()
