"""`kd.data`: pipelines that yield batches of NumPy arrays; transforms.

Every pipeline here is a function from positions to examples. So iterators resume exactly,
on any number of workers and processes, and nothing but the seed decides the order.
"""

from __future__ import annotations

from kauldron._base import lazy

_TRANSFORMS = "kauldron.data.transforms"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # Pipelines.
        "IterableDataset": "kauldron.data.datasets:IterableDataset",
        "Pipeline": "kauldron.data.pipelines:Pipeline",
        "BatchSize": "kauldron.data._batch_size:BatchSize",
        "InMemoryPipeline": "kauldron.data._in_memory:InMemoryPipeline",
        # Looking.
        "batch_picture": "kauldron.data._inspection:batch_picture",
        "bench": "kauldron.data._inspection:bench",
        "describe_batch": "kauldron.data._inspection:describe_batch",
        "describe_spec": "kauldron.data._inspection:describe_spec",
        # Tables in files.
        "FolderSummary": "kauldron.data._table_summaries:FolderSummary",
        "TableSummary": "kauldron.data._table_summaries:TableSummary",
        "inspect_table": "kauldron.data._table_summaries:inspect_table",
        "read_table": "kauldron.data._tables:read_table",
        "summarise_folder": "kauldron.data._table_summaries:summarise_folder",
        "write_table": "kauldron.data._tables:write_table",
        # Real data.
        "FetchError": "kauldron.data._fetch:FetchError",
        "fetch": "kauldron.data._fetch:fetch",
        "fetchable": "kauldron.data._fetch:fetchable",
        "IMAGE_SUFFIXES": "kauldron.data._image_files:IMAGE_SUFFIXES",
        "read_image": "kauldron.data._image_files:read_image",
        # Namespaces.
        "iters": "kauldron.data.iters",
        "py": "kauldron.data.py",
        "tf": "kauldron.data.tf",
        "utils": "kauldron.data.utils",
        # Transforms.
        "AddConstants": f"{_TRANSFORMS}.elements:AddConstants",
        "Stack": f"{_TRANSFORMS}.elements:Stack",
        "BatchTransform": f"{_TRANSFORMS}.base:BatchTransform",
        "Cast": f"{_TRANSFORMS}.values:Cast",
        "CenterCrop": f"{_TRANSFORMS}.images:CenterCrop",
        "ChunkTransform": f"{_TRANSFORMS}.base:ChunkTransform",
        "ColorJitter": f"{_TRANSFORMS}.colors:ColorJitter",
        "CutMix": f"{_TRANSFORMS}.batches:CutMix",
        "ElementWiseRandomTransform": f"{_TRANSFORMS}.base:ElementWiseRandomTransform",
        "ElementWiseTransform": f"{_TRANSFORMS}.base:ElementWiseTransform",
        "Elements": f"{_TRANSFORMS}.elements:Elements",
        "FilterTransform": f"{_TRANSFORMS}.base:FilterTransform",
        "Gather": f"{_TRANSFORMS}.values:Gather",
        "InceptionCrop": f"{_TRANSFORMS}.random_crops:InceptionCrop",
        "MapTransform": f"{_TRANSFORMS}.base:MapTransform",
        "MixUp": f"{_TRANSFORMS}.batches:MixUp",
        "Normalize": f"{_TRANSFORMS}.values:Normalize",
        "OneHot": f"{_TRANSFORMS}.values:OneHot",
        "PadOrTruncateTokens": f"{_TRANSFORMS}.tokens:PadOrTruncateTokens",
        "PadToShape": f"{_TRANSFORMS}.images:PadToShape",
        "RandAugment": f"{_TRANSFORMS}.colors:RandAugment",
        "RandomCrop": f"{_TRANSFORMS}.random_crops:RandomCrop",
        "RandomFlipLeftRight": f"{_TRANSFORMS}.random_crops:RandomFlipLeftRight",
        "RandomFlipUpDown": f"{_TRANSFORMS}.random_crops:RandomFlipUpDown",
        "RandomMapTransform": f"{_TRANSFORMS}.base:RandomMapTransform",
        "RandomResizedCrop": f"{_TRANSFORMS}.random_crops:RandomResizedCrop",
        "Rearrange": f"{_TRANSFORMS}.values:Rearrange",
        "Resize": f"{_TRANSFORMS}.images:Resize",
        "ResizeSmall": f"{_TRANSFORMS}.images:ResizeSmall",
        "TreeFlattenWithPath": f"{_TRANSFORMS}.elements:TreeFlattenWithPath",
        "ValueRange": f"{_TRANSFORMS}.values:ValueRange",
        # Errors.
        "BadRecordError": "kauldron.data._errors:BadRecordError",
        "DataError": "kauldron.data._errors:DataError",
        "DataKeyError": "kauldron.data._errors:DataKeyError",
        "IteratorStateError": "kauldron.data._errors:IteratorStateError",
    },
)
