"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.data.tf._pipelines import ElementSpecDataset as ElementSpecDataset
from kauldron.data.tf._pipelines import SampleFromDatasets as SampleFromDatasets
from kauldron.data.tf._pipelines import Tfds as Tfds
from kauldron.data.tf._pipelines import TfdsLegacy as TfdsLegacy
from kauldron.data.tf._pipelines import ZipDatasets as ZipDatasets
from kauldron.data.tf._transforms import Resize as Resize
from kauldron.data.tf._unavailable import ElementWiseRandomTransform as ElementWiseRandomTransform
from kauldron.data.tf._unavailable import SeqIOMixture as SeqIOMixture
from kauldron.data.tf._unavailable import SeqIOTask as SeqIOTask
from kauldron.data.tf._unavailable import TFDataPipeline as TFDataPipeline
from kauldron.data.tf._unavailable import WithShuffleBuffer as WithShuffleBuffer
from kauldron.data.transforms.base import ElementWiseTransform as ElementWiseTransform
from kauldron.data.transforms.base import FilterTransform as FilterTransform
from kauldron.data.transforms.base import MapTransform as MapTransform
from kauldron.data.transforms.elements import AddConstants as AddConstants
from kauldron.data.transforms.elements import Elements as Elements
from kauldron.data.transforms.elements import TreeFlattenWithPath as TreeFlattenWithPath
from kauldron.data.transforms.images import CenterCrop as CenterCrop
from kauldron.data.transforms.images import ResizeSmall as ResizeSmall
from kauldron.data.transforms.random_crops import InceptionCrop as InceptionCrop
from kauldron.data.transforms.random_crops import RandomCrop as RandomCrop
from kauldron.data.transforms.random_crops import RandomFlipLeftRight as RandomFlipLeftRight
from kauldron.data.transforms.values import Cast as Cast
from kauldron.data.transforms.values import Gather as Gather
from kauldron.data.transforms.values import OneHot as OneHot
from kauldron.data.transforms.values import Rearrange as Rearrange
from kauldron.data.transforms.values import ValueRange as ValueRange

__all__ = [
    "AddConstants",
    "Cast",
    "CenterCrop",
    "ElementSpecDataset",
    "ElementWiseRandomTransform",
    "ElementWiseTransform",
    "Elements",
    "FilterTransform",
    "Gather",
    "InceptionCrop",
    "MapTransform",
    "OneHot",
    "RandomCrop",
    "RandomFlipLeftRight",
    "Rearrange",
    "Resize",
    "ResizeSmall",
    "SampleFromDatasets",
    "SeqIOMixture",
    "SeqIOTask",
    "TFDataPipeline",
    "Tfds",
    "TfdsLegacy",
    "TreeFlattenWithPath",
    "ValueRange",
    "WithShuffleBuffer",
    "ZipDatasets",
]
