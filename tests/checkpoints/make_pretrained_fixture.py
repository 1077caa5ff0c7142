"""Writes `pretrained_logits.json`: names, shapes and logits of PyTorch's models.

Run in an environment with torch, timm 1.0.22 and transformers 5.24:
`python -m tests.checkpoints.make_pretrained_fixture`.
The weights are made of the names of the tensors, so none are stored. Files of Hugging
Face have other names than `state_dict()`: they are written and read by the library.
"""

from __future__ import annotations

import json
import pathlib
import tempfile

import timm.models.convnext
import timm.models.resnet
import timm.models.vision_transformer
import torch
import transformers
from safetensors import safe_open
from safetensors.numpy import save_file

from tests.checkpoints import seeded_tensors

_FIXTURE = pathlib.Path(__file__).parent / "pretrained_logits.json"
_SIZE = 32


def _timm_models() -> dict[str, torch.nn.Module]:
    resnet, convnext = timm.models.resnet, timm.models.convnext
    vit = timm.models.vision_transformer.VisionTransformer
    small = {"img_size": _SIZE, "patch_size": 8, "embed_dim": 12, "num_heads": 3}
    return {
        "timm_resnet": resnet.ResNet(
            resnet.BasicBlock, [1, 2, 1, 1], channels=(8, 12, 8, 8), num_classes=5
        ),
        "timm_convnext": convnext.ConvNeXt(
            depths=(1, 1, 1, 1), dims=(4, 8, 8, 8), num_classes=5
        ),
        "timm_vit": vit(**small, depth=2, mlp_ratio=2, num_classes=5),
        "timm_vit_mean": vit(
            **small, depth=1, num_classes=5, global_pool="avg", class_token=False
        ),
    }


def _hf_models() -> dict[str, transformers.PreTrainedModel]:
    vit = transformers.ViTConfig(
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=20,
        image_size=_SIZE,
        patch_size=8,
        num_labels=5,
    )
    return {
        "hf_resnet": transformers.ResNetForImageClassification(
            transformers.ResNetConfig(
                embedding_size=4, hidden_sizes=[8, 16], depths=[1, 2], num_labels=5
            )
        ),
        "hf_convnext": transformers.ConvNextForImageClassification(
            transformers.ConvNextConfig(
                hidden_sizes=[4, 8], depths=[1, 2], num_stages=2, num_labels=5
            )
        ),
        "hf_vit": transformers.ViTForImageClassification(vit),
        "hf_vit_pooler": transformers.ViTModel(vit),
    }


def _entry(shapes: dict[str, list[int]], model: torch.nn.Module) -> dict[str, object]:
    image = seeded_tensors.make_image(size=_SIZE).transpose(0, 3, 1, 2)
    with torch.no_grad():
        out = model.eval()(torch.from_numpy(image.copy()))
    for name in ("logits", "pooler_output"):
        out = getattr(out, name, out)
    return {"tensors": shapes, "logits": out.tolist()}


def _timm_entry(model: torch.nn.Module) -> dict[str, object]:
    shapes = {name: list(x.shape) for name, x in model.state_dict().items()}
    made = {
        n: torch.from_numpy(seeded_tensors.make(n, tuple(s))) for n, s in shapes.items()
    }
    model.load_state_dict(made)
    return _entry(shapes, model)


def _hf_entry(model: transformers.PreTrainedModel) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        path = f"{folder}/model.safetensors"
        with safe_open(path, "np") as f:
            shapes = {name: f.get_slice(name).get_shape() for name in f.keys()}  # noqa: SIM118 (no mapping)
        made = {n: seeded_tensors.make(n, tuple(s)) for n, s in shapes.items()}
        save_file(made, path, metadata={"format": "pt"})
        return _entry(shapes, type(model).from_pretrained(folder))


def main() -> None:
    entries = {name: _timm_entry(model) for name, model in _timm_models().items()}
    entries |= {name: _hf_entry(model) for name, model in _hf_models().items()}
    lines = [f'"{k}": {json.dumps(v)}' for k, v in entries.items()]
    _FIXTURE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
