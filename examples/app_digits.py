"""Handwritten digits as an app: any picture in, a digit out.

    kauldron train --cfg=examples/app_digits.py --cfg.workdir=runs/app_digits
    kauldron apps bundle --workdir=runs/app_digits --out=digits_app
    kauldron apps infer digits_app --input=digit.png --out=out
    kauldron apps serve --apps=digits_app --port=8001

The network is that of `examples/digits_classifier.py`. What differs is the preprocessing,
which goes along into the app: pictures have any size and values from 0 to 255, as files
have them, and become 8 x 8 pixels. It reaches an accuracy of about 0.98.
"""

from kauldron import konfig

with konfig.imports():
    from examples import app_digits
    from kauldron import kd

from examples import digits_classifier
from examples import digits_data as data

# The scan of the digits has 17 shades of grey.
_SCALE = 255 / 16


class Pictures:
    """The digits of `digits_data` as pictures, `u8[8 8 1]` from 0 to 255."""

    class_names = tuple(map(str, range(10)))

    def __init__(self, split):
        self._digits = data.Digits(split=split)

    def __len__(self):
        return len(self._digits)

    def __getitem__(self, index):
        element = self._digits[index]
        return {**element, "image": (element["image"] * _SCALE).astype("uint8")}


def get_config():
    cfg = digits_classifier.get_config()
    cfg.train_ds = _make_ds("train", shuffle=True, num_epochs=None)
    cfg.eval_ds = _make_ds("test", shuffle=False, num_epochs=1)
    return cfg


def _make_ds(split, **options):
    return kd.data.py.DataSource(
        data_source=app_digits.Pictures(split),
        batch_size=64,
        transforms=[
            kd.data.Elements(keep=["image", "label"]),
            kd.data.ValueRange(key="image", in_vrange=(0, 255), vrange=(0, 1)),
            kd.data.Resize(key="image", size=(8, 8), antialias=True),
            kd.data.Cast(key="label", dtype="int32"),
            kd.data.Rearrange(key="label", pattern="... -> ... 1"),
        ],
        **options,
    )
