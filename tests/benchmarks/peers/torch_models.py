"""The models in torch, and the loop that one writes for them by hand."""

import sizes
import torch
from torch import nn


class _Blocks(nn.Module):
    def __init__(self, length, is_causal):
        super().__init__()
        width = sizes.BLOCKS["width"]
        self.position = nn.Parameter(0.02 * torch.randn(1, length, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                sizes.BLOCKS["heads"],
                sizes.BLOCKS["hidden"],
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(sizes.BLOCKS["depth"])
        )
        self.norm = nn.LayerNorm(width)
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        self.register_buffer("mask", mask if is_causal else None)

    def forward(self, x):
        x = x + self.position
        for layer in self.layers:
            x = layer(x, src_mask=self.mask, is_causal=self.mask is not None)
        return self.norm(x)


class Vit(nn.Module):
    def __init__(self):
        super().__init__()
        width, patch = sizes.BLOCKS["width"], sizes.VIT["patch"]
        self.patches = nn.Conv2d(3, width, patch, stride=patch)
        self.blocks = _Blocks((sizes.VIT["image"] // patch) ** 2, is_causal=False)
        self.head = nn.Linear(width, sizes.VIT["classes"])

    def forward(self, x):
        x = self.patches(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2)
        return self.head(self.blocks(x).mean(1))


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        width, vocabulary = sizes.BLOCKS["width"], sizes.DECODER["vocabulary"]
        self.embedding = nn.Embedding(vocabulary, width)
        self.blocks = _Blocks(sizes.DECODER["length"], is_causal=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, x):
        return self.head(self.blocks(self.embedding(x)))


def _mlp():
    layers, before = [], sizes.MLP["inputs"]
    for width in sizes.MLP["widths"]:
        layers += [nn.Linear(before, width), nn.ReLU()]
        before = width
    return nn.Sequential(*layers, nn.Linear(before, sizes.MLP["classes"]))


def make(name):
    """Returns the module."""
    return {"mlp": _mlp, "vit": Vit, "decoder": Decoder}[name]()


def batch(name):
    """`x` and `label`, which lacks the axis of one."""
    found = sizes.batch(name)
    labels = found["label"][..., 0].astype("int64")
    return {"x": torch.from_numpy(found["x"]), "label": torch.from_numpy(labels)}


def loss_of(model, batch):
    logits = model(batch["x"]).flatten(0, -2)
    return nn.functional.cross_entropy(logits, batch["label"].flatten())


def optimizer_of(model):
    return torch.optim.Adam(model.parameters(), lr=sizes.LEARNING_RATE)


def make_raw(name):
    """Steps in eager mode, as torch's own guides have them."""
    model, given = make(name), batch(name)
    optimizer = optimizer_of(model)

    def run(num_steps):
        for _ in range(num_steps):
            optimizer.zero_grad()
            loss_of(model, given).backward()
            optimizer.step()

    return run


class Batches:
    """The same batch, a number of times."""

    def __init__(self, name, number):
        self.batch, self.number = batch(name), number

    def __len__(self):
        return self.number

    def __iter__(self):
        for _ in range(self.number):
            yield self.batch
