"""Image and video files: `<folder>/<name>/step_<step>_<i>.png`, or `.gif`."""

from __future__ import annotations

import io
import re

import numpy as np
from etils import epath

from kauldron import summaries

_FILE_NAME = re.compile(r"step_(\d+)_\d+\.(png|gif)")


def write(
    folder: epath.Path, name: str, step: int, contents: list[bytes], ending: str
) -> None:
    """Writes the contents of files that end in `png` or `gif`."""
    folder = folder / _folder_name(name)
    folder.mkdir(parents=True, exist_ok=True)
    for i, content in enumerate(contents):
        (folder / f"step_{step}_{i}.{ending}").write_bytes(content)


def rewind(folder: epath.Path, step: int) -> None:
    """Removes the files of a step and later ones."""
    for path in folder.iterdir():
        if path.is_dir():
            rewind(path, step)
        elif (match := _FILE_NAME.fullmatch(path.name)) and int(match[1]) >= step:
            path.unlink()


def to_png(image: np.ndarray) -> bytes:
    """Returns `[h w 1|3]`, `u8` or floats in [0, 1], as the content of a PNG file."""
    from PIL import Image

    if image.dtype != np.uint8:
        image = np.nan_to_num(np.asarray(image, np.float32))
        image = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(file, "PNG")
    return file.getvalue()


def to_gifs(videos: np.ndarray, fps: float) -> list[bytes]:
    """Returns videos `[n t h w 1|3]`, `u8` or floats in [0, 1], as contents of GIF files."""
    if videos.dtype == np.uint8:
        videos = videos / np.float32(255)
    return summaries.Video(np.nan_to_num(videos), fps=fps).to_gifs()


def _folder_name(name: str) -> str:
    """Returns a relative path that stays inside: `summaries/a b/../c` is `a_b/_/c`."""
    parts = name.removeprefix("summaries/").split("/")
    cleaned = [re.sub(r"[^\w.+=,-]", "_", part) for part in parts]
    return "/".join("_" if not x.strip(".") else x for x in cleaned)
