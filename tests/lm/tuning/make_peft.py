"""Writes `peft.json`: what PEFT makes of the adapters that `kd.lm.save_adapter` writes.

`python -m tests.lm.tuning.make_peft PYTHON`, where PYTHON has torch, transformers and peft
(5.24 and 0.21.2 wrote the file that is here).
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import tempfile

import jax
import numpy as np

from kauldron import kd
from tests.lm import small_model

FIXTURE = pathlib.Path(__file__).with_name("peft.json")
TOKENS = [[5, 17, 200, 41, 9, 123], [88, 3, 250, 7, 60, 11]]
# All layers alike; and some modules of some layers.
TARGETS = {
    "everywhere": ("**.attention.*.kernel", "**.feed_forward.*.kernel"),
    "somewhere": ("layer_1.attention.query.kernel", "layer_0.feed_forward.down.kernel"),
}
_PEER = """
import json, sys, torch, transformers, peft
base, adapter, tokens = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
model = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
model = peft.PeftModel.from_pretrained(model, adapter).eval()
names = [n for n, _ in model.named_parameters() if "lora_B" in n]
with torch.no_grad():
    logits = model(torch.tensor(tokens)).logits[:, -1, ::10]
print(json.dumps({"num_adapted": len(names), "logits": logits.tolist()}))
"""


def tuned(targets):
    """Returns a LoRA of the small model, its parameters and its collections."""
    model = small_model.model()
    lora = kd.lm.LoRA(model=model, rank=3, alpha=12.0, targets=targets)
    tokens = np.array(TOKENS, np.int32)
    shapes = jax.eval_shape(lora.init, jax.random.key(0), tokens)["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(
        lambda x: 0.2 * rng.standard_normal(x.shape).astype(np.float32), shapes
    )
    return lora, params, {"base": small_model.params(model)}


def main(python: str) -> None:
    """Writes the file."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder)
        small_model.save(path / "base")
        for name, targets in TARGETS.items():
            lora, params, _ = tuned(targets)
            kd.lm.save_adapter(path / name, lora, params)
            command = [python, "-c", _PEER, path / "base", path / name]
            printed = subprocess.run(
                [*command, json.dumps(TOKENS)], check=True, stdout=subprocess.PIPE
            ).stdout
            found[name] = json.loads(printed.splitlines()[-1])
            found[name]["logits"] = np.round(found[name]["logits"], 5).tolist()
    FIXTURE.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
