"""`kd.data.py`: pipelines over random-access sources."""

from __future__ import annotations

from kauldron._base import lazy

_GENERIC = "kauldron.data.transforms"

__getattr__, __dir__, __all__ = lazy.attach(
    __name__,
    {
        # Pipelines.
        "PyGrainPipeline": "kauldron.data.py.base:PyGrainPipeline",
        "DataSourceBase": "kauldron.data.py.base:DataSourceBase",
        "DropRemainder": "kauldron.data.py.base:DropRemainder",
        "DataSource": "kauldron.data.py._sources:DataSource",
        "DrawnSource": "kauldron.data.py._sources:DrawnSource",
        "Tfds": "kauldron.data.py._tfds:Tfds",
        "made_up_tfds": "kauldron.data.py._tfds:made_up_tfds",
        "HuggingFace": "kauldron.data.py._huggingface:HuggingFace",
        "Json": "kauldron.data.py._files:Json",
        "Csv": "kauldron.data.py._files:Csv",
        "ArrayRecord": "kauldron.data.py._files:ArrayRecord",
        "ImageFolder": "kauldron.data.py._images:ImageFolder",
        "NumpyArrays": "kauldron.data.py._files:NumpyArrays",
        "Parquet": "kauldron.data.py._files:Parquet",
        "Mix": "kauldron.data.py._mixtures:Mix",
        "SelectFromDatasets": "kauldron.data.py._mixtures:SelectFromDatasets",
        "SliceDataset": "kauldron.data.py._slices:SliceDataset",
        # Transforms.
        "AddConstants": f"{_GENERIC}.elements:AddConstants",
        "BatchTransform": f"{_GENERIC}.base:BatchTransform",
        "Cast": f"{_GENERIC}.values:Cast",
        "CenterCrop": f"{_GENERIC}.images:CenterCrop",
        "ColorJitter": f"{_GENERIC}.colors:ColorJitter",
        "CutMix": f"{_GENERIC}.batches:CutMix",
        "ElementWiseRandomTransform": f"{_GENERIC}.base:ElementWiseRandomTransform",
        "ElementWiseTransform": f"{_GENERIC}.base:ElementWiseTransform",
        "Elements": f"{_GENERIC}.elements:Elements",
        "FilterTransform": f"{_GENERIC}.base:FilterTransform",
        "Gather": f"{_GENERIC}.values:Gather",
        "InceptionCrop": f"{_GENERIC}.random_crops:InceptionCrop",
        "MapTransform": f"{_GENERIC}.base:MapTransform",
        "MixUp": f"{_GENERIC}.batches:MixUp",
        "Normalize": f"{_GENERIC}.values:Normalize",
        "OneHot": f"{_GENERIC}.values:OneHot",
        "PadOrTruncateTokens": f"{_GENERIC}.tokens:PadOrTruncateTokens",
        "PadToShape": f"{_GENERIC}.images:PadToShape",
        "RandAugment": f"{_GENERIC}.colors:RandAugment",
        "RandomCrop": f"{_GENERIC}.random_crops:RandomCrop",
        "RandomFlipLeftRight": f"{_GENERIC}.random_crops:RandomFlipLeftRight",
        "RandomFlipUpDown": f"{_GENERIC}.random_crops:RandomFlipUpDown",
        "RandomMapTransform": f"{_GENERIC}.base:RandomMapTransform",
        "RandomResizedCrop": f"{_GENERIC}.random_crops:RandomResizedCrop",
        "Rearrange": f"{_GENERIC}.values:Rearrange",
        "Resize": f"{_GENERIC}.images:Resize",
        "ResizeSmall": f"{_GENERIC}.images:ResizeSmall",
        "TreeFlattenWithPath": f"{_GENERIC}.elements:TreeFlattenWithPath",
        "ValueRange": f"{_GENERIC}.values:ValueRange",
    },
)
