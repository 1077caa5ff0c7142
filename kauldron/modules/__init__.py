"""`kd.nn`: Flax modules aware of keys and of train/eval mode."""

from __future__ import annotations

from kauldron._base import public
from kauldron.modules._autoencoder import FlatAutoencoder
from kauldron.modules._dropout import Dropout
from kauldron.modules._einops import Rearrange, Reduce
from kauldron.modules._sequential import Identity, Sequential
from kauldron.modules._train_property import set_train_property, train_property

__all__ = [
    "Dropout",
    "FlatAutoencoder",
    "Identity",
    "Rearrange",
    "Reduce",
    "Sequential",
    "set_train_property",
    "train_property",
]

__dir__ = public.publish(__name__)
