"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.volumes.augment.augmenting import Augment as Augment
from kauldron.volumes.augment.base import Augmentation as Augmentation
from kauldron.volumes.augment.drawn import Drawn as Drawn
from kauldron.volumes.augment.moves import Affine as Affine
from kauldron.volumes.augment.moves import Grid as Grid
from kauldron.volumes.augment.moves import PlaceMap as PlaceMap
from kauldron.volumes.augment.places import Elastic as Elastic
from kauldron.volumes.augment.places import Flip as Flip
from kauldron.volumes.augment.places import Permute as Permute
from kauldron.volumes.augment.places import Rotate as Rotate
from kauldron.volumes.augment.places import Scale as Scale
from kauldron.volumes.augment.places import Translate as Translate
from kauldron.volumes.augment.splines import Spline as Spline
from kauldron.volumes.augment.values import Blur as Blur
from kauldron.volumes.augment.values import Brightness as Brightness
from kauldron.volumes.augment.values import Contrast as Contrast
from kauldron.volumes.augment.values import Cutout as Cutout
from kauldron.volumes.augment.values import Gamma as Gamma
from kauldron.volumes.augment.values import LowResolution as LowResolution
from kauldron.volumes.augment.values import Noise as Noise

__all__ = [
    "Affine",
    "Augment",
    "Augmentation",
    "Blur",
    "Brightness",
    "Contrast",
    "Cutout",
    "Drawn",
    "Elastic",
    "Flip",
    "Gamma",
    "Grid",
    "LowResolution",
    "Noise",
    "Permute",
    "PlaceMap",
    "Rotate",
    "Scale",
    "Spline",
    "Translate",
]
