"""The names that code built on the published package asks for, by import path."""

from __future__ import annotations

_TRANSFORMS = (
    "AddConstants Cast CenterCrop ElementWiseTransform Elements FilterTransform Gather "
    "MapTransform Rearrange Resize TreeFlattenWithPath ValueRange"
)

_TABLE = {
    "kauldron.kd": (
        "ckpts cli contrib data evals from_xid inspect kdash konfig kontext ktyping "
        "losses metrics nn optim random sharding summaries testing train typing utils xm"
    ),
    "kauldron.konfig": (
        "ConfigDict ConfigDictLike DEFINE_config_file WithRef export export_qualname "
        "get_config_from_module imports mock_modules placeholder ref_copy ref_fn "
        "register_aliases register_default_values required resolve "
        "set_lazy_imported_modules"
    ),
    "kauldron.kontext": (
        "Context GlobPath Key KeyTree Path REQUIRED filter_by_path flatten_with_path "
        "get_by_path get_keypaths is_key_annotated path_builder_from "
        "resolve_from_keyed_obj resolve_from_keypaths set_by_path"
    ),
    "kauldron.train": (
        "Auxiliaries AuxiliariesOutput AuxiliariesState Context KDMetricWriter RngStream "
        "RngStreams Setup TqdmInfo TrainState TrainStep Trainer forward forward_with_loss"
    ),
    "kauldron.train.train_step": "TrainState TrainStep forward forward_with_loss",
    "kauldron.train.trainer_lib": "Trainer",
    "kauldron.train.auxiliaries": "Auxiliaries AuxiliariesState AuxiliariesOutput",
    "kauldron.train.metric_writer": (
        "KDMetricWriter NoopMetadataWriter NoopWriter WriterBase"
    ),
    "kauldron.train.context": "Context",
    "kauldron.train.checkpoint_state": "CheckpointState",
    "kauldron.losses": (
        "AbsoluteValue Huber L1 L2 Loss NegativeCosineSimilarity "
        "SigmoidBinaryCrossEntropy SoftmaxCrossEntropy SoftmaxCrossEntropyWithIntLabels "
        "Value compute_losses"
    ),
    "kauldron.losses.base": "Loss compute_losses",
    "kauldron.metrics": (
        "Accuracy Ari AutoState AverageState BinaryAccuracy CollectFirstState "
        "CollectingState EmptyState LpipsVgg Metric NoopMetric Norm Precision1 Psnr RocAuc "
        "SingleDimension SkipIfMissing Ssim State Std TreeMap TreeReduce concat_field image "
        "state_field static_field sum_field truncate_field"
    ),
    "kauldron.metrics.base": "Metric NoopMetric SkipIfMissing TreeMap TreeReduce TreeState",
    "kauldron.metrics.base_state": (
        "AverageState CollectFirstState CollectingState EmptyState State"
    ),
    "kauldron.metrics.auto_state": (
        "AutoState concat_field max_field min_field state_field static_field sum_field "
        "truncate_field"
    ),
    "kauldron.metrics.image": "psnr rescale_image ssim",
    "kauldron.summaries": (
        "HistogramSummary ShowBoxes ShowDifferenceImages ShowImages ShowPointCloud "
        "ShowSegmentations ShowTexts deprecated"
    ),
    "kauldron.evals": (
        "CollectionKeys Evaluator EvaluatorBase EveryNSteps FewShotEvaluator Final Once "
        "RunStrategy StandaloneEveryCheckpoint StandaloneLastCheckpoint"
    ),
    "kauldron.evals.evaluators": "CollectionKeys Evaluator EvaluatorBase",
    "kauldron.evals.run_strategies": (
        "AlongTrain EveryNSteps Final Once RunStrategy Standalone "
        "StandaloneEveryCheckpoint StandaloneLastCheckpoint"
    ),
    "kauldron.data": (
        f"{_TRANSFORMS} BatchSize InMemoryPipeline IterableDataset Pipeline iters py tf"
    ),
    "kauldron.data.py": (
        f"{_TRANSFORMS} DataSource DataSourceBase DropRemainder "
        "ElementWiseRandomTransform HuggingFace Json Mix PyGrainPipeline RandomCrop "
        "RandomFlipLeftRight SelectFromDatasets SliceDataset Tfds"
    ),
    "kauldron.data.py.base": "DataSourceBase PyGrainPipeline",
    "kauldron.data.tf": (
        f"{_TRANSFORMS} ElementSpecDataset ElementWiseRandomTransform InceptionCrop OneHot "
        "RandomCrop RandomFlipLeftRight ResizeSmall SampleFromDatasets SeqIOMixture "
        "SeqIOTask TFDataPipeline Tfds TfdsLegacy WithShuffleBuffer ZipDatasets"
    ),
    "kauldron.data.utils": (
        "get_global_elem_spec get_model_inputs get_model_inputs_from_batch "
        "mock_batch_from_elem_spec"
    ),
    "kauldron.checkpoints": (
        "BaseCheckpointer Checkpointer InitTransform MultiTransform NoopCheckpointer "
        "NoopTransform PartialKauldronLoader SimpleCheckpointLoader items workdir_from_xid"
    ),
    "kauldron.checkpoints.items": (
        "CheckpointItem StandardCheckpointItem TopLevelCheckpointItem"
    ),
    "kauldron.modules": (
        "AddEmbedding AddLearnedEmbedding AttentionModule Dropout DummyModel "
        "ExternalModule FlatAutoencoder FourierEmbedding Identity ImageTokenizer "
        "ImprovedMultiHeadDotProductAttention LearnedEmbedding "
        "MultiHeadDotProductAttention NormModule ParallelAttentionBlock Patchify "
        "PatchifyEmbed PostNormBlock PreNormBlock Rearrange Reduce Sequential "
        "TransformerBlock TransformerMLP Vit VitAutoEncoder VitEncoder WrapperModule "
        "ZeroEmbedding convert_to_fourier_features interms_property knn_types "
        "set_train_property train_property"
    ),
    "kauldron.optim": (
        "UseEmaParams decay_to_init ema_params exclude named_chain partial_updates select"
    ),
    "kauldron.random": "PRNGKey fold_in_str random_seed",
    "kauldron.sharding": (
        "DEVICES_MESH FIRST_DIM FSDPSharding REPLICATED ShardingStrategy ShardingTree "
        "device_put with_sharding_constraint"
    ),
    "kauldron.typing": (
        "Array ArraySpec Axes AxisName Bool Complex Complex64 DType Dim ElementSpec Float "
        "Float32 Initializer Int Integer Memo Num PRNGKey PRNGKeyLike PyTree Scalar "
        "ScalarFloat ScalarInt Schedule Shape ShapeError TfArray TfFloat TfFloat32 TfInt "
        "TfUInt8 TypeCheckError UInt32 UInt8 XArray check_type enable_kd_type_checking "
        "set_shape typechecked"
    ),
    "kauldron.ktyping": (
        "AmbiguousDimensionError Array ArraySpec Axes BFloat16 Bool CONFIG Complex "
        "Complex128 Complex64 Config DType ElementSpec Float Float16 Float32 Float64 Int "
        "Int16 Int32 Int64 Int8 IntOrBool KTypeCheckError NoActiveScopeError Num PRNGKey "
        "PRNGKeyArray PRNGKeyLike PyTree SInt Scalar ScalarBool ScalarComplex ScalarFloat "
        "ScalarInt Shape ShapeError ShapeScope TfArray TfBool TfComplex TfComplex128 "
        "TfComplex64 TfFloat TfFloat16 TfFloat32 TfFloat64 TfInt TfInt16 TfInt32 TfInt64 "
        "TfInt8 TfIntOrBool TfNum TfSInt TfUInt TfUInt16 TfUInt32 TfUInt64 TfUInt8 UInt "
        "UInt16 UInt32 UInt64 UInt8 XArray XBFloat16 XBool XComplex XComplex128 XComplex64 "
        "XFloat XFloat16 XFloat32 XFloat64 XInt XInt16 XInt32 XInt64 XInt8 XIntOrBool XNum "
        "XSInt XUInt XUInt16 XUInt32 XUInt64 XUInt8 add_config_override check_type dim "
        "dtypes get_current_scope is_array_type isinstance remove_config_override shape "
        "typechecked"
    ),
    "kauldron.ktyping.array_type_meta": "ArrayTypeMeta is_array_type",
    "kauldron.ktyping.dtypes": (
        "BuiltinDType CompoundDType DType JaxDType NpDType bool_like complex_like float0 "
        "float128 float_like generic int_like number pybool pycomplex pyfloat pyint "
        "scalar_like signedinteger unsignedinteger bfloat16 float32 floating integer int8"
    ),
    "kauldron.inspect": "Profiler",
    "kauldron.testing": "assert_step_specs assert_utils",
    "kauldron.testing.assert_utils": "assert_trees_all_same_type",
    "kauldron.utils.api": (
        "BaseConfig ImmutableDict ROOT_CFG_REF UpdateFromRootCfg chrono colab config_util "
        "immutabledict status utils"
    ),
    "kauldron.utils.config_util": "BaseConfig ROOT_CFG_REF UpdateFromRootCfg",
    "kauldron.utils.immutabledict": "ImmutableDict freeze_dict_attrs unfreeze",
    "kauldron.utils.sharding_utils": "sharding",
    "kauldron.utils.status_utils": "status log",
    "kauldron.utils.utils": "checkify_ignore enum_iter json_list_to_tuple",
    "kauldron.utils.colab": "SweepMode iter_sweep_configs",
    "kauldron.utils.chrono": "Chrono Pause",
    "kauldron.utils.kdash": (
        "BuildContext DashboardsBase MetricDashboards MultiDashboards NoopDashboard Plot "
        "SingleDashboard build_and_upload"
    ),
    "kauldron.utils.xmanager": (
        "Experiment WorkUnit add_colab_artifacts add_log_artifacts add_tags_to_xm "
        "load_config_from_path"
    ),
    "kauldron.utils.from_xid": "get_cfg get_element_spec get_resolved get_workdir",
    "kauldron.kxm": (
        "CFG_FLAG_VALUES ConfigProvider Debug DirectoryBuilder Experiment InterpreterInfo "
        "Job JobsProvider KauldronJobs KauldronSweep MLPython NoSweep Orchestrator "
        "SimpleSweep SubdirFormat SweepFromCfg SweepInfo SweepItem WU_DIR_PROXY "
        "XP_DIR_PROXY file_path"
    ),
    "kauldron.contrib": "checkpoints data evals losses metrics modules nn summaries train",
    "kauldron.contrib.checkpoints": (
        "AnyPreservationPolicy BestN CustomSteps EveryNSeconds EveryNSteps ExpStep LatestN "
        "PartialCLULoader keep_best_n keep_exp_step_and_best_n"
    ),
    "kauldron.contrib.data": (
        "AddBias FirstClip FlattenVideo GaussianBlur MiddleClip MultiClip Normalize "
        "RandAugment RandomClip Scale SpacetimeToDepth Standardize ThreeSpatialCrop "
        "TreeUnflattenForKey py"
    ),
    "kauldron.contrib.data.py": "FlipUpsideDown PadImage",
    "kauldron.contrib.evals": "CheckpointedEvaluator TrainEvaluator",
    "kauldron.contrib.knnx": "KdNnxModule LinenModuleFromNnxDef",
    "kauldron.contrib.losses": "DiceLoss IoULoss SigmoidFocalLoss WeightedL1",
    "kauldron.contrib.metrics": (
        "CosineSimilarity Delta1 FidWithStats JointAccuracy MeanAbsoluteRelativeError "
        "MeanCov MultilabelAveragePrecision PsnrWithResize RGBMeanAbsoluteRelativeError "
        "RootMeanSquaredError SegmentationJaccard"
    ),
    "kauldron.contrib.modules": "ReadoutWrapper get_model_from_xid knnx linen_from_nnx",
    "kauldron.contrib.nn": "ReadoutWrapper get_model_from_xid linen_from_nnx",
    "kauldron.contrib.summaries": "ConfusionMatrix ImageGrid Print ShowVideosAsGif",
    "kauldron.contrib.train": (
        "GifVideoWriter MLFlowMetricWriter MultiTrainStep NoopTrainStep NpzWriter "
        "multi_optimizer"
    ),
}

NAMES = {path: tuple(names.split()) for path, names in _TABLE.items()}
