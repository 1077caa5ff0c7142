"""Picture files of every kind through one rule; resizing takes channels for themselves."""

from __future__ import annotations

import io
import struct
import sys
import types
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from kauldron import kd

_RNG = np.random.default_rng(0)
_RGB = _RNG.integers(0, 256, (4, 6, 3), dtype=np.uint8)
_RGBA = _RNG.integers(0, 256, (4, 6, 4), dtype=np.uint8)
_GREY = _RNG.integers(0, 256, (4, 6), dtype=np.uint8)


def _png_of_16_bits(path, values):
    """Writes `u16[h w c]` by the PNG specification, with two of its filters."""
    height, width, channels = values.shape
    rows = values.astype(">u2").reshape(height, -1).view(np.uint8)
    step = 2 * channels
    lines = b""
    for i, row in enumerate(rows):
        differences = row.copy()
        if i % 2:
            differences[step:] -= row[:-step]
        lines += bytes([i % 2]) + differences.tobytes()

    def chunk(kind, content):
        check = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + check

    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_16_bits_are_scaled_to_bytes_or_kept(tmp_path, channels):
    values = _RNG.integers(0, 65536, (5, 7, channels)).astype(np.uint16)
    values[0, 0], values[0, 1], values[0, 2] = 0, 65535, 128
    _png_of_16_bits(tmp_path / "a.png", values)
    if channels == 2:  # grey with transparency is RGBA
        values = values[..., [0, 0, 0, 1]]
    scaled = np.rint(values / 257).astype(np.uint8)
    actual = kd.data.read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(actual, scaled, strict=True)
    stored = kd.data.read_image(tmp_path / "a.png", as_stored=True)
    np.testing.assert_array_equal(stored, values, strict=True)
    rgb = kd.data.read_image(tmp_path / "a.png", num_channels=3)
    repeated = np.repeat(scaled, 3, -1) if channels == 1 else scaled
    np.testing.assert_array_equal(rgb, repeated[..., :3])


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_colours_of_tiff_files_are_exact(tmp_path, order):
    tifffile = pytest.importorskip("tifffile")
    values = _RNG.integers(0, 65536, (5, 7, 3)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", values, byteorder=order, photometric="rgb")
    stored = kd.data.read_image(tmp_path / "a.tif", as_stored=True)
    np.testing.assert_array_equal(stored, values, strict=True)


@pytest.mark.parametrize(
    ("values", "mode"),
    [(np.float32([[0, 0.5, 1]]), "F"), (np.int32([[0, 300, 70000]]), "I")],
)
def test_32_bits_are_refused_by_mode_or_kept(tmp_path, values, mode):
    Image.fromarray(values).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match=rf"a\.tif.*mode '{mode}'.*as_stored=True"):
        kd.data.read_image(tmp_path / "a.tif", num_channels=1)
    stored = kd.data.read_image(tmp_path / "a.tif", as_stored=True)
    np.testing.assert_array_equal(stored, values[..., None], strict=True)
    with pytest.raises(ValueError, match=r"1 channels.*does not convert to 3"):
        kd.data.read_image(tmp_path / "a.tif", as_stored=True, num_channels=3)


def _palette():
    image = Image.new("P", (6, 4))
    image.putdata((np.arange(24) % 3).tolist())
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    return image


_COLOURS = np.uint8([[10, 20, 30], [40, 50, 60], [70, 80, 90]])
_IDS = (np.arange(24) % 3).reshape(4, 6)


def _alpha(pixels, alpha):
    return np.concatenate(
        [pixels, np.broadcast_to(alpha, pixels.shape[:2])[..., None]], -1
    )


_LA = np.stack([_GREY, _GREY // 2], -1)
# What is saved, with which options, and what `num_channels=None` gives.
_KINDS = {
    "1 bit": (Image.fromarray(_GREY > 99), {}, np.uint8((_GREY > 99) * 255)[..., None]),
    "grey": (Image.fromarray(_GREY), {}, _GREY[..., None]),
    "grey and alpha": (Image.fromarray(_LA), {}, _LA[..., [0, 0, 0, 1]]),
    "palette": (_palette(), {}, _COLOURS[_IDS]),
    "palette with transparency": (
        _palette(),
        {"transparency": 1},
        _alpha(_COLOURS[_IDS], np.where(_IDS == 1, 0, 255).astype(np.uint8)),
    ),
    "RGB": (Image.fromarray(_RGB), {}, _RGB),
    "RGB with a transparent colour": (
        Image.fromarray(_RGB),
        {"transparency": tuple(_RGB[0, 0].tolist())},
        _alpha(_RGB, np.where((_RGB[0, 0] == _RGB).all(-1), 0, 255).astype(np.uint8)),
    ),
    "RGBA": (Image.fromarray(_RGBA), {}, _RGBA),
}


@pytest.mark.parametrize("kind", _KINDS)
def test_8_bit_pictures_come_with_the_fewest_channels_that_hold_them(tmp_path, kind):
    image, options, expected = _KINDS[kind]
    image.save(tmp_path / "a.png", **options)
    actual = kd.data.read_image(tmp_path / "a.png")
    np.testing.assert_array_equal(actual, expected, strict=True)
    for channels in (1, 3, 4):
        actual = kd.data.read_image(tmp_path / "a.png", num_channels=channels)
        assert actual.shape == (4, 6, channels)
        if channels == 3 and expected.shape[-1] == 4:  # dropped, not blended
            np.testing.assert_array_equal(actual, expected[..., :3])


def test_cmyk_is_read_as_rgb(tmp_path):
    cmyk = np.uint8([[[0, 0, 0, 0], [255, 0, 0, 0], [0, 0, 0, 255], [0, 255, 0, 0]]])
    Image.fromarray(cmyk, "CMYK").save(tmp_path / "a.tif")
    # Without ink it is white; cyan takes red away, magenta green, black all.
    expected = [[[255, 255, 255], [0, 255, 255], [0, 0, 0], [255, 0, 255]]]
    np.testing.assert_array_equal(kd.data.read_image(tmp_path / "a.tif"), expected)


def test_ycbcr_is_read_as_rgb(tmp_path):
    Image.fromarray(_RGB).save(tmp_path / "a.jpg", quality=100, subsampling=0)
    assert Image.open(tmp_path / "a.jpg").mode == "RGB"
    # Two roundings of the transform to YCbCr and back, and one of the coefficients.
    difference = kd.data.read_image(tmp_path / "a.jpg").astype(int) - _RGB
    assert np.abs(difference).max() <= 3


@pytest.mark.parametrize("suffix", ["gif", "tif"])
def test_of_several_pages_the_first_is_read(tmp_path, suffix):
    pages = [Image.fromarray(np.full((4, 6), v, np.uint8)) for v in (10, 20, 30)]
    path = tmp_path / f"a.{suffix}"
    pages[0].save(path, save_all=True, append_images=pages[1:])
    assert np.unique(kd.data.read_image(path, num_channels=1)).tolist() == [10]


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_are_turned_as_the_camera_noted(tmp_path, orientation, suffix):
    image = Image.fromarray(_RGB)
    image.getexif()[0x0112] = orientation
    path = tmp_path / f"a.{suffix}"
    image.save(path, exif=image.getexif(), lossless=True)
    with Image.open(path) as saved:
        expected = np.asarray(ImageOps.exif_transpose(saved))
    np.testing.assert_array_equal(kd.data.read_image(path), expected)
    as_it_lies = kd.data.read_image(path, exif_orientation=False)
    np.testing.assert_array_equal(as_it_lies, _RGB)


def test_folders_of_photos_are_turned_unless_told(tmp_path):
    image = Image.fromarray(_RGB)
    image.getexif()[0x0112] = 6
    image.save(tmp_path / "a.png", exif=image.getexif())
    folder = kd.data.py.ImageFolder(tmp_path, shuffle=False)
    assert folder.data_source[0]["image"].shape == (6, 4, 3)
    np.testing.assert_array_equal(folder.data_source[0]["image"], np.rot90(_RGB, -1))
    folder = kd.data.py.ImageFolder(tmp_path, shuffle=False, exif_orientation=False)
    assert folder.data_source[0]["image"].shape == (4, 6, 3)


def test_pictures_of_the_hub_follow_the_rule(monkeypatch):
    depth = np.uint16([[0, 700, 65535]])
    rows = [{"image": _palette(), "depth": Image.fromarray(depth), "name": "a"}]
    module = types.SimpleNamespace(load_dataset=lambda *args, **kwargs: rows)
    monkeypatch.setitem(sys.modules, "datasets", module)
    source = kd.data.py.HuggingFace("a/b", split="train", shuffle=False).data_source
    np.testing.assert_array_equal(source[0]["image"], _COLOURS[_IDS], strict=True)
    np.testing.assert_array_equal(source[0]["depth"], depth[..., None], strict=True)
    assert source[0]["name"] == "a"


def test_pictures_of_several_dtypes_in_one_folder_are_an_error(tmp_path):
    Image.fromarray(_GREY).save(tmp_path / "a.png")
    Image.fromarray(_GREY.astype(np.uint16)).save(tmp_path / "b.png")
    ds = kd.data.py.ImageFolder(
        tmp_path, num_channels=1, as_stored=True, shuffle=False, batch_size=2, seed=0
    )
    with pytest.raises(
        ValueError, match=r"'image'.*uint16 in example 1, uint8 in exam"
    ):
        next(iter(ds))


_INTEGERS = ["uint8", "int8", "uint16", "int16"]


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos3"])
@pytest.mark.parametrize(
    "dtype", [*_INTEGERS, "int32", "float16", "bfloat16", "float32"]
)
def test_resizing_takes_every_channel_as_if_it_were_alone(method, dtype):
    for channels in (1, 2, 3, 4, 5):
        if "int" in dtype:
            most = min(np.iinfo(dtype).max, 10**5)
            images = _RNG.integers(
                max(np.iinfo(dtype).min, -most), most, (8, 9, channels)
            )
        else:
            images = _RNG.normal(size=(8, 9, channels))
        images = images.astype(jnp.dtype(dtype))
        images[:4, :, -1] = 0
        for size in ((4, 5), (13, 16)):
            resize = kd.data.Resize(key="x", size=size, method=method)
            actual = resize.map({"x": images})["x"]
            assert actual.dtype == images.dtype
            wide = images.astype(np.float32)
            exact = jax.image.resize(wide, (*size, channels), method)
            exact = np.asarray(exact).astype(np.float64)
            if "int" in dtype:
                # Half a unit of rounding, and that of float32 in the expected value;
                # Pillow's bytes round twice.
                exact = exact.clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
                tolerance = {"uint8": 1.01, "int32": 0.6}.get(dtype, 0.53)
            else:
                # One rounding to the dtype of values below 4.
                tolerance = {"float16": 2e-3, "bfloat16": 2e-2}.get(dtype, 1e-5)
            difference = np.abs(actual.astype(np.float64) - exact).max()
            assert difference <= tolerance, (channels, size)


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 5])
def test_an_image_of_ones_stays_ones(channels):
    ones = np.ones((10, 12, channels), np.uint8)
    for method in ("bilinear", "bicubic", "lanczos3", "area"):
        resize = kd.data.Resize(key="x", size=(3, 17), method=method)
        assert (resize.map({"x": ones})["x"] == 1).all()


def test_label_maps_are_resized_without_new_labels():
    labels = _RNG.choice(np.array([0, 7, 2**40], np.int64), (9, 9, 1))
    actual = kd.data.Resize(key="x", size=(4, 20)).map({"x": labels})["x"]
    assert set(np.unique(actual)) <= {0, 7, 2**40}


def test_a_bool_mask_is_true_where_the_mean_is_above_one_half():
    mask = np.zeros((4, 4, 1), bool)
    mask[:2, :2], mask[2, 2], mask[:2, 2] = True, True, True
    resize = kd.data.Resize(key="x", size=2, method="area")
    actual = resize.map({"x": mask})["x"]
    # Means of the quarters: 1, 1/2, 0, 1/4.
    np.testing.assert_array_equal(actual[..., 0], [[True, False], [False, False]])


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.uint32, np.uint64])
def test_resizing_stays_within_the_range_of_integers(dtype):
    bounds = np.iinfo(dtype)
    image = np.full((8, 8, 1), bounds.max, dtype)
    image[4:] = bounds.min
    actual = kd.data.Resize(key="x", size=16, method="bicubic").map({"x": image})["x"]
    # Cubic weights overshoot on both sides of the edge; a value that wraps round would
    # end on the other side.
    middle = (bounds.max + bounds.min) / 2
    assert (actual[:8] > middle).all()
    assert (actual[8:] < middle).all()
    # 2**63 - 1 is no float64: the largest below is 512 less.
    assert bounds.max - int(actual[6].max()) <= 2048
    assert actual[9].min() == bounds.min


def test_nan_reaches_only_the_pixels_that_it_has_a_part_in():
    image = np.ones((10, 10, 2), np.float32)
    image[5, 5, 0] = np.nan
    actual = kd.data.Resize(key="x", size=20, method="bilinear").map({"x": image})["x"]
    # Each of the doubled pixels is a mean of two by two.
    expected = np.zeros((20, 20), bool)
    expected[9:13, 9:13] = True
    np.testing.assert_array_equal(np.isnan(actual[..., 0]), expected)
    assert (actual[..., 1] == 1).all()


@pytest.mark.parametrize(
    "image", [np.full((4, 4, 1), "a"), np.zeros((4, 4, 1), complex)]
)
def test_what_is_no_number_is_not_averaged(image):
    resize = kd.data.Resize(key="x", size=2, method="bilinear")
    with pytest.raises(ValueError, match=f"real numbers.*{image.dtype}"):
        resize.map({"x": image})


@pytest.mark.parametrize("size", [0, 2.5, (3,), (3, 4, 5), "3"])
def test_a_size_that_is_none_is_refused_when_it_is_written(size):
    with pytest.raises(ValueError, match="Resize: `size` is"):
        kd.data.Resize(key="x", size=size)


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "lanczos3", "area"])
def test_a_small_picture_has_the_same_bits_alone_and_among_many(method):
    """Small ones are computed in another way; what is compared is not only close."""
    pictures = np.random.default_rng(0).normal(size=(64, 28, 20, 3)).astype(np.float32)
    resize = kd.data.Resize(key="image", size=(8, 31), method=method)
    together = resize.map({"image": pictures})["image"]
    alone = [resize.map({"image": picture})["image"] for picture in pictures]
    assert together.tobytes() == np.stack(alone).tobytes()


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg"])
def test_a_picture_is_read_from_memory_as_from_its_file(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}", exif=exif)
    whole = (tmp_path / f"a{suffix}").read_bytes()
    expected = kd.data.read_image(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(kd.data.read_image(io.BytesIO(whole)), expected)
    with pytest.raises(kd.data.BadRecordError, match="The image in memory cannot"):
        kd.data.read_image(io.BytesIO(whole[:7]))
