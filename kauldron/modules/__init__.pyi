"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.modules._activations import PReLU as PReLU
from kauldron.modules._autoencoder import FlatAutoencoder as FlatAutoencoder
from kauldron.modules._dropout import Dropout as Dropout
from kauldron.modules._einops import Rearrange as Rearrange
from kauldron.modules._einops import Reduce as Reduce
from kauldron.modules._functions import FunctionModule as FunctionModule
from kauldron.modules._interms import IntermediateError as IntermediateError
from kauldron.modules._interms import interms_property as interms_property
from kauldron.modules._logical_axes import AXIS_NAMES as AXIS_NAMES
from kauldron.modules._logical_axes import logical_axes as logical_axes
from kauldron.modules._logical_axes import with_logical_axes as with_logical_axes
from kauldron.modules._norms import BatchNorm as BatchNorm
from kauldron.modules._rms_norm import RMSNorm as RMSNorm
from kauldron.modules._sequential import Identity as Identity
from kauldron.modules._sequential import Sequential as Sequential
from kauldron.modules._train_property import intermediates_read as intermediates_read
from kauldron.modules._train_property import set_train_property as set_train_property
from kauldron.modules._train_property import train_property as train_property
from kauldron.modules._wrappers import DummyModel as DummyModel
from kauldron.modules._wrappers import ExternalModule as ExternalModule
from kauldron.modules._wrappers import WrapperModule as WrapperModule
from kauldron.modules.attention._cache import CacheSpec as CacheSpec
from kauldron.modules.attention._cache import CacheView as CacheView
from kauldron.modules.attention._cache import ContiguousCache as ContiguousCache
from kauldron.modules.attention._cache import KVCache as KVCache
from kauldron.modules.attention._dot_product import dot_product_attention as dot_product_attention
from kauldron.modules.attention._key_blocks import KeyBlock as KeyBlock
from kauldron.modules.attention._key_blocks import attend_key_blocks as attend_key_blocks
from kauldron.modules.attention._recording import AttentionCall as AttentionCall
from kauldron.modules.attention._recording import record_attention as record_attention
from kauldron.modules.generative._conditional_unet import ConditionalUNet as ConditionalUNet
from kauldron.modules.generative._diffusion import Diffusion as Diffusion
from kauldron.modules.generative._flow_matching import FlowMatching as FlowMatching
from kauldron.modules.generative._networks import ConditionalMLP as ConditionalMLP
from kauldron.modules.generative._networks import TimeEmbedding as TimeEmbedding
from kauldron.modules.generative._noise_schedules import CosineNoise as CosineNoise
from kauldron.modules.generative._noise_schedules import LinearNoise as LinearNoise
from kauldron.modules.generative._noise_schedules import NoiseSchedule as NoiseSchedule
from kauldron.modules.generative._samplers import ancestral as ancestral
from kauldron.modules.generative._samplers import ddim as ddim
from kauldron.modules.generative._samplers import euler as euler
from kauldron.modules.generative._samplers import heun as heun
from kauldron.modules.generative._vae import VAE as VAE
from kauldron.modules.graph._graph import Graph as Graph
from kauldron.modules.graph._node import GraphError as GraphError
from kauldron.modules.graph._node import Node as Node
from kauldron.modules.graph._shapes import downsampling_factor as downsampling_factor
from kauldron.modules.graph._shapes import eval_shape as eval_shape
from kauldron.modules.graph._shapes import output_shapes as output_shapes
from kauldron.modules.images._blocks import AttentionGate as AttentionGate
from kauldron.modules.images._blocks import ConvBlock as ConvBlock
from kauldron.modules.images._blocks import ResidualBlock as ResidualBlock
from kauldron.modules.images._blocks import SqueezeExcitation as SqueezeExcitation
from kauldron.modules.images._conv import Conv as Conv
from kauldron.modules.images._conv import ConvTranspose as ConvTranspose
from kauldron.modules.images._conv import SpectralConv as SpectralConv
from kauldron.modules.images._convnext import ConvNeXt as ConvNeXt
from kauldron.modules.images._deformations import integrate_velocity as integrate_velocity
from kauldron.modules.images._deformations import jacobian_determinant as jacobian_determinant
from kauldron.modules.images._deformations import move_points as move_points
from kauldron.modules.images._mixer import MlpMixer as MlpMixer
from kauldron.modules.images._patch_discriminator import PatchDiscriminator as PatchDiscriminator
from kauldron.modules.images._registration import Registration as Registration
from kauldron.modules.images._resampling import Downsample as Downsample
from kauldron.modules.images._resampling import Upsample as Upsample
from kauldron.modules.images._residual_unet import ResidualUNet as ResidualUNet
from kauldron.modules.images._resnet import ResNet as ResNet
from kauldron.modules.images._spatial_transformer import SpatialTransformer as SpatialTransformer
from kauldron.modules.images._unet import UNet as UNet
from kauldron.modules.images._unet_plus_plus import UNetPlusPlus as UNetPlusPlus
from kauldron.modules.language._causal_lm import CausalLM as CausalLM
from kauldron.modules.language._decoder_block import DecoderBlock as DecoderBlock
from kauldron.modules.language._families import decoder as decoder
from kauldron.modules.language._feed_forward import FeedForward as FeedForward
from kauldron.modules.language._gq_attention import GQAttention as GQAttention
from kauldron.modules.language._ml_attention import MLAttention as MLAttention
from kauldron.modules.language._moe import MoE as MoE
from kauldron.modules.language._moe import Routing as Routing
from kauldron.modules.language._projection import Projection as Projection
from kauldron.modules.language._rope import LinearScaling as LinearScaling
from kauldron.modules.language._rope import Llama3Scaling as Llama3Scaling
from kauldron.modules.language._rope import NtkScaling as NtkScaling
from kauldron.modules.language._rope import Rope as Rope
from kauldron.modules.language._rope import YarnScaling as YarnScaling
from kauldron.modules.patches._patch_wise import PatchWise as PatchWise
from kauldron.modules.patches.tilings import PatchError as PatchError
from kauldron.modules.transformers import knn_types as knn_types
from kauldron.modules.transformers._attention import ImprovedMultiHeadDotProductAttention as ImprovedMultiHeadDotProductAttention
from kauldron.modules.transformers._attention import MultiHeadDotProductAttention as MultiHeadDotProductAttention
from kauldron.modules.transformers._attention import dot_product_attention_weights as dot_product_attention_weights
from kauldron.modules.transformers._blocks import ParallelAttentionBlock as ParallelAttentionBlock
from kauldron.modules.transformers._blocks import PostNormBlock as PostNormBlock
from kauldron.modules.transformers._blocks import PreNormBlock as PreNormBlock
from kauldron.modules.transformers._blocks import TransformerMLP as TransformerMLP
from kauldron.modules.transformers._embeddings import AddEmbedding as AddEmbedding
from kauldron.modules.transformers._embeddings import AddLearnedEmbedding as AddLearnedEmbedding
from kauldron.modules.transformers._embeddings import FourierEmbedding as FourierEmbedding
from kauldron.modules.transformers._embeddings import LearnedEmbedding as LearnedEmbedding
from kauldron.modules.transformers._embeddings import ZeroEmbedding as ZeroEmbedding
from kauldron.modules.transformers._embeddings import convert_to_fourier_features as convert_to_fourier_features
from kauldron.modules.transformers._patches import Patchify as Patchify
from kauldron.modules.transformers._patches import PatchifyEmbed as PatchifyEmbed
from kauldron.modules.transformers._variants import VariantError as VariantError
from kauldron.modules.transformers._vit import Vit as Vit
from kauldron.modules.transformers._vit import VitAutoEncoder as VitAutoEncoder
from kauldron.modules.transformers._vit import VitEncoder as VitEncoder
from kauldron.modules.transformers._vit_classifier import VitClassifier as VitClassifier
from kauldron.modules.transformers.knn_types import AttentionModule as AttentionModule
from kauldron.modules.transformers.knn_types import ImageTokenizer as ImageTokenizer
from kauldron.modules.transformers.knn_types import NormModule as NormModule
from kauldron.modules.transformers.knn_types import TransformerBlock as TransformerBlock

__all__ = [
    "AXIS_NAMES",
    "AddEmbedding",
    "AddLearnedEmbedding",
    "AttentionCall",
    "AttentionGate",
    "AttentionModule",
    "BatchNorm",
    "CacheSpec",
    "CacheView",
    "CausalLM",
    "ConditionalMLP",
    "ConditionalUNet",
    "ContiguousCache",
    "Conv",
    "ConvBlock",
    "ConvNeXt",
    "ConvTranspose",
    "CosineNoise",
    "DecoderBlock",
    "Diffusion",
    "Downsample",
    "Dropout",
    "DummyModel",
    "ExternalModule",
    "FeedForward",
    "FlatAutoencoder",
    "FlowMatching",
    "FourierEmbedding",
    "FunctionModule",
    "GQAttention",
    "Graph",
    "GraphError",
    "Identity",
    "ImageTokenizer",
    "ImprovedMultiHeadDotProductAttention",
    "IntermediateError",
    "KVCache",
    "KeyBlock",
    "LearnedEmbedding",
    "LinearNoise",
    "LinearScaling",
    "Llama3Scaling",
    "MLAttention",
    "MlpMixer",
    "MoE",
    "MultiHeadDotProductAttention",
    "Node",
    "NoiseSchedule",
    "NormModule",
    "NtkScaling",
    "PReLU",
    "ParallelAttentionBlock",
    "PatchDiscriminator",
    "PatchError",
    "PatchWise",
    "Patchify",
    "PatchifyEmbed",
    "PostNormBlock",
    "PreNormBlock",
    "Projection",
    "RMSNorm",
    "Rearrange",
    "Reduce",
    "Registration",
    "ResNet",
    "ResidualBlock",
    "ResidualUNet",
    "Rope",
    "Routing",
    "Sequential",
    "SpatialTransformer",
    "SpectralConv",
    "SqueezeExcitation",
    "TimeEmbedding",
    "TransformerBlock",
    "TransformerMLP",
    "UNet",
    "UNetPlusPlus",
    "Upsample",
    "VAE",
    "VariantError",
    "Vit",
    "VitAutoEncoder",
    "VitClassifier",
    "VitEncoder",
    "WrapperModule",
    "YarnScaling",
    "ZeroEmbedding",
    "ancestral",
    "attend_key_blocks",
    "convert_to_fourier_features",
    "ddim",
    "decoder",
    "dot_product_attention",
    "dot_product_attention_weights",
    "downsampling_factor",
    "euler",
    "eval_shape",
    "heun",
    "integrate_velocity",
    "intermediates_read",
    "interms_property",
    "jacobian_determinant",
    "knn_types",
    "logical_axes",
    "move_points",
    "output_shapes",
    "record_attention",
    "set_train_property",
    "train_property",
    "with_logical_axes",
]
