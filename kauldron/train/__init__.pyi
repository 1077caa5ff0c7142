"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.recording import CannotShowError as CannotShowError
from kauldron.recording import Description as Description
from kauldron.recording import KDMetricWriter as KDMetricWriter
from kauldron.recording import Measured as Measured
from kauldron.recording import MultiWriter as MultiWriter
from kauldron.recording import NoopWriter as NoopWriter
from kauldron.recording import Writer as Writer
from kauldron.recording import WriterBase as WriterBase
from kauldron.recording import WriterError as WriterError
from kauldron.runs import reproduction as reproduction
from kauldron.sharding import TrainState as TrainState
from kauldron.step import AccumulationError as AccumulationError
from kauldron.step import Auxiliaries as Auxiliaries
from kauldron.step import AuxiliariesOutput as AuxiliariesOutput
from kauldron.step import AuxiliariesState as AuxiliariesState
from kauldron.step import Context as Context
from kauldron.step import DynamicLossScale as DynamicLossScale
from kauldron.step import HostBatchError as HostBatchError
from kauldron.step import LossGroup as LossGroup
from kauldron.step import LossGroupError as LossGroupError
from kauldron.step import LossGroupsStep as LossGroupsStep
from kauldron.step import LossScaleError as LossScaleError
from kauldron.step import ModuleGlobError as ModuleGlobError
from kauldron.step import Precision as Precision
from kauldron.step import PrecisionError as PrecisionError
from kauldron.step import PredictionError as PredictionError
from kauldron.step import Remat as Remat
from kauldron.step import RematError as RematError
from kauldron.step import RngStream as RngStream
from kauldron.step import RngStreams as RngStreams
from kauldron.step import TrainStep as TrainStep
from kauldron.step import TrainStepError as TrainStepError
from kauldron.step import UsedStateError as UsedStateError
from kauldron.step import forward as forward
from kauldron.step import forward_with_loss as forward_with_loss
from kauldron.step import loss_groups as loss_groups
from kauldron.step import rngs_lib as rngs_lib
from kauldron.train import auxiliaries as auxiliaries
from kauldron.train import checkpoint_state as checkpoint_state
from kauldron.train import context as context
from kauldron.train import hooks as hooks
from kauldron.train import metric_writer as metric_writer
from kauldron.train import setup_utils as setup_utils
from kauldron.train import train_loop as train_loop
from kauldron.train import train_step as train_step
from kauldron.train import trainer_lib as trainer_lib
from kauldron.train._batches import OutOfDataError as OutOfDataError
from kauldron.train._compilation_cache import use as compilation_cache
from kauldron.train._eval_only import EvalOnlyError as EvalOnlyError
from kauldron.train._interrupts import TrainingInterrupted as TrainingInterrupted
from kauldron.train._key_report import CheckError as CheckError
from kauldron.train._trainer_checks import TrainerError as TrainerError
from kauldron.train.hooks import EarlyStopping as EarlyStopping
from kauldron.train.hooks import Hook as Hook
from kauldron.train.hooks import HookError as HookError
from kauldron.train.hooks import ReduceOnPlateau as ReduceOnPlateau
from kauldron.train.hooks import RunControl as RunControl
from kauldron.train.nan_guard import NanGuard as NanGuard
from kauldron.train.nan_guard import NanGuardError as NanGuardError
from kauldron.train.nan_guard import NonfiniteError as NonfiniteError
from kauldron.train.setup_utils import Setup as Setup
from kauldron.train.setup_utils import TqdmInfo as TqdmInfo
from kauldron.train.trainer_lib import Trainer as Trainer
from kauldron.workdir import WorkdirConfigError as WorkdirConfigError
from kauldron.workdir import WorkdirError as WorkdirError
from kauldron.workdir import run_status as run_status
from kauldron.workdir import workdirs as workdirs

__all__ = [
    "AccumulationError",
    "Auxiliaries",
    "AuxiliariesOutput",
    "AuxiliariesState",
    "CannotShowError",
    "CheckError",
    "Context",
    "Description",
    "DynamicLossScale",
    "EarlyStopping",
    "EvalOnlyError",
    "Hook",
    "HookError",
    "HostBatchError",
    "KDMetricWriter",
    "LossGroup",
    "LossGroupError",
    "LossGroupsStep",
    "LossScaleError",
    "Measured",
    "ModuleGlobError",
    "MultiWriter",
    "NanGuard",
    "NanGuardError",
    "NonfiniteError",
    "NoopWriter",
    "OutOfDataError",
    "Precision",
    "PrecisionError",
    "PredictionError",
    "ReduceOnPlateau",
    "Remat",
    "RematError",
    "RngStream",
    "RngStreams",
    "RunControl",
    "Setup",
    "TqdmInfo",
    "TrainState",
    "TrainStep",
    "TrainStepError",
    "Trainer",
    "TrainerError",
    "TrainingInterrupted",
    "UsedStateError",
    "WorkdirConfigError",
    "WorkdirError",
    "Writer",
    "WriterBase",
    "WriterError",
    "auxiliaries",
    "checkpoint_state",
    "compilation_cache",
    "context",
    "forward",
    "forward_with_loss",
    "hooks",
    "loss_groups",
    "metric_writer",
    "reproduction",
    "rngs_lib",
    "run_status",
    "setup_utils",
    "train_loop",
    "train_step",
    "trainer_lib",
    "workdirs",
]
