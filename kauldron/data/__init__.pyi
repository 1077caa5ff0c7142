"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.data import iters as iters
from kauldron.data import py as py
from kauldron.data import tf as tf
from kauldron.data import utils as utils
from kauldron.data._batch_size import BatchSize as BatchSize
from kauldron.data._errors import BadRecordError as BadRecordError
from kauldron.data._errors import DataError as DataError
from kauldron.data._errors import DataKeyError as DataKeyError
from kauldron.data._errors import IteratorStateError as IteratorStateError
from kauldron.data._fetch import FetchError as FetchError
from kauldron.data._fetch import fetch as fetch
from kauldron.data._fetch import fetchable as fetchable
from kauldron.data._image_files import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from kauldron.data._image_files import read_image as read_image
from kauldron.data._in_memory import InMemoryPipeline as InMemoryPipeline
from kauldron.data._inspection import batch_picture as batch_picture
from kauldron.data._inspection import bench as bench
from kauldron.data._inspection import describe_batch as describe_batch
from kauldron.data._inspection import describe_spec as describe_spec
from kauldron.data._table_summaries import FolderSummary as FolderSummary
from kauldron.data._table_summaries import TableSummary as TableSummary
from kauldron.data._table_summaries import inspect_table as inspect_table
from kauldron.data._table_summaries import summarise_folder as summarise_folder
from kauldron.data._tables import read_table as read_table
from kauldron.data._tables import write_table as write_table
from kauldron.data.datasets import IterableDataset as IterableDataset
from kauldron.data.pipelines import Pipeline as Pipeline
from kauldron.data.transforms.base import BatchTransform as BatchTransform
from kauldron.data.transforms.base import ChunkTransform as ChunkTransform
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
from kauldron.data.transforms.elements import Stack as Stack
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
    "BadRecordError",
    "BatchSize",
    "BatchTransform",
    "Cast",
    "CenterCrop",
    "ChunkTransform",
    "ColorJitter",
    "CutMix",
    "DataError",
    "DataKeyError",
    "ElementWiseRandomTransform",
    "ElementWiseTransform",
    "Elements",
    "FetchError",
    "FilterTransform",
    "FolderSummary",
    "Gather",
    "IMAGE_SUFFIXES",
    "InMemoryPipeline",
    "InceptionCrop",
    "IterableDataset",
    "IteratorStateError",
    "MapTransform",
    "MixUp",
    "Normalize",
    "OneHot",
    "PadOrTruncateTokens",
    "PadToShape",
    "Pipeline",
    "RandAugment",
    "RandomCrop",
    "RandomFlipLeftRight",
    "RandomFlipUpDown",
    "RandomMapTransform",
    "RandomResizedCrop",
    "Rearrange",
    "Resize",
    "ResizeSmall",
    "Stack",
    "TableSummary",
    "TreeFlattenWithPath",
    "ValueRange",
    "batch_picture",
    "bench",
    "describe_batch",
    "describe_spec",
    "fetch",
    "fetchable",
    "inspect_table",
    "iters",
    "py",
    "read_image",
    "read_table",
    "summarise_folder",
    "tf",
    "utils",
    "write_table",
]
