"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.data.py._files import ArrayRecord as ArrayRecord
from kauldron.data.py._files import Csv as Csv
from kauldron.data.py._files import Json as Json
from kauldron.data.py._files import NumpyArrays as NumpyArrays
from kauldron.data.py._files import Parquet as Parquet
from kauldron.data.py._huggingface import HuggingFace as HuggingFace
from kauldron.data.py._images import ImageFolder as ImageFolder
from kauldron.data.py._mixtures import Mix as Mix
from kauldron.data.py._mixtures import SelectFromDatasets as SelectFromDatasets
from kauldron.data.py._slices import SliceDataset as SliceDataset
from kauldron.data.py._sources import DataSource as DataSource
from kauldron.data.py._sources import DrawnSource as DrawnSource
from kauldron.data.py._tfds import Tfds as Tfds
from kauldron.data.py._tfds import made_up_tfds as made_up_tfds
from kauldron.data.py.base import DataSourceBase as DataSourceBase
from kauldron.data.py.base import DropRemainder as DropRemainder
from kauldron.data.py.base import PyGrainPipeline as PyGrainPipeline
from kauldron.data.transforms.base import BatchTransform as BatchTransform
from kauldron.data.transforms.base import ElementWiseRandomTransform as ElementWiseRandomTransform
from kauldron.data.transforms.base import ElementWiseTransform as ElementWiseTransform
from kauldron.data.transforms.base import FilterTransform as FilterTransform
from kauldron.data.transforms.base import MapTransform as MapTransform
from kauldron.data.transforms.base import RandomMapTransform as RandomMapTransform
from kauldron.data.transforms.batches import CutMix as CutMix
from kauldron.data.transforms.batches import MixUp as MixUp
from kauldron.data.transforms.colors import ColorJitter as ColorJitter
from kauldron.data.transforms.colors import RandAugment as RandAugment
from kauldron.data.transforms.elements import AddConstants as AddConstants
from kauldron.data.transforms.elements import Elements as Elements
from kauldron.data.transforms.elements import TreeFlattenWithPath as TreeFlattenWithPath
from kauldron.data.transforms.images import CenterCrop as CenterCrop
from kauldron.data.transforms.images import PadToShape as PadToShape
from kauldron.data.transforms.images import Resize as Resize
from kauldron.data.transforms.images import ResizeSmall as ResizeSmall
from kauldron.data.transforms.random_crops import InceptionCrop as InceptionCrop
from kauldron.data.transforms.random_crops import RandomCrop as RandomCrop
from kauldron.data.transforms.random_crops import RandomFlipLeftRight as RandomFlipLeftRight
from kauldron.data.transforms.random_crops import RandomFlipUpDown as RandomFlipUpDown
from kauldron.data.transforms.random_crops import RandomResizedCrop as RandomResizedCrop
from kauldron.data.transforms.tokens import PadOrTruncateTokens as PadOrTruncateTokens
from kauldron.data.transforms.values import Cast as Cast
from kauldron.data.transforms.values import Gather as Gather
from kauldron.data.transforms.values import Normalize as Normalize
from kauldron.data.transforms.values import OneHot as OneHot
from kauldron.data.transforms.values import Rearrange as Rearrange
from kauldron.data.transforms.values import ValueRange as ValueRange

__all__ = [
    "AddConstants",
    "ArrayRecord",
    "BatchTransform",
    "Cast",
    "CenterCrop",
    "ColorJitter",
    "Csv",
    "CutMix",
    "DataSource",
    "DataSourceBase",
    "DrawnSource",
    "DropRemainder",
    "ElementWiseRandomTransform",
    "ElementWiseTransform",
    "Elements",
    "FilterTransform",
    "Gather",
    "HuggingFace",
    "ImageFolder",
    "InceptionCrop",
    "Json",
    "MapTransform",
    "Mix",
    "MixUp",
    "Normalize",
    "NumpyArrays",
    "OneHot",
    "PadOrTruncateTokens",
    "PadToShape",
    "Parquet",
    "PyGrainPipeline",
    "RandAugment",
    "RandomCrop",
    "RandomFlipLeftRight",
    "RandomFlipUpDown",
    "RandomMapTransform",
    "RandomResizedCrop",
    "Rearrange",
    "Resize",
    "ResizeSmall",
    "SelectFromDatasets",
    "SliceDataset",
    "Tfds",
    "TreeFlattenWithPath",
    "ValueRange",
    "made_up_tfds",
]
