"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.volumes import augment as augment
from kauldron.volumes import losses as losses
from kauldron.volumes import metrics as metrics
from kauldron.volumes import transforms as transforms
from kauldron.volumes.cases.checks import BadCasesError as BadCasesError
from kauldron.volumes.cases.dataset import VolumeCases as VolumeCases
from kauldron.volumes.cases.groups import Group as Group
from kauldron.volumes.cases.selection import Split as Split
from kauldron.volumes.evaluation.file_evaluation import Evaluation as Evaluation
from kauldron.volumes.evaluation.file_evaluation import evaluate as evaluate
from kauldron.volumes.evaluation.report import write_report as write_report
from kauldron.volumes.files.base import Format as Format
from kauldron.volumes.files.base import Info as Info
from kauldron.volumes.files.base import RegionWriter as RegionWriter
from kauldron.volumes.files.formats import format_of as format_of
from kauldron.volumes.files.volume_files import convert as convert
from kauldron.volumes.files.volume_files import info as info
from kauldron.volumes.files.volume_files import open_region_writer as open_region_writer
from kauldron.volumes.files.volume_files import read as read
from kauldron.volumes.files.volume_files import write as write
from kauldron.volumes.geometry.base import Geometry as Geometry
from kauldron.volumes.geometry.base import Image as Image
from kauldron.volumes.geometry.base import Region as Region
from kauldron.volumes.geometry.errors import VolumeError as VolumeError
from kauldron.volumes.patches.grids import PatchGrid as PatchGrid
from kauldron.volumes.patches.grids import RandomPatch as RandomPatch
from kauldron.volumes.patches.patch_sizes import choose_patch_size as choose_patch_size
from kauldron.volumes.patches.sliding_windows import SlidingWindow as SlidingWindow
from kauldron.volumes.patches.sliding_windows import sliding_window as sliding_window
from kauldron.volumes.pictures.summary import ShowVolumes as ShowVolumes
from kauldron.volumes.pictures.views import Views as Views
from kauldron.volumes.pictures.views import patch_map as patch_map
from kauldron.volumes.pictures.views import views as views
from kauldron.volumes.prediction.case_evaluator import CaseEvaluator as CaseEvaluator
from kauldron.volumes.prediction.outputs import Output as Output

__all__ = [
    "BadCasesError",
    "CaseEvaluator",
    "Evaluation",
    "Format",
    "Geometry",
    "Group",
    "Image",
    "Info",
    "Output",
    "PatchGrid",
    "RandomPatch",
    "Region",
    "RegionWriter",
    "ShowVolumes",
    "SlidingWindow",
    "Split",
    "Views",
    "VolumeCases",
    "VolumeError",
    "augment",
    "choose_patch_size",
    "convert",
    "evaluate",
    "format_of",
    "info",
    "losses",
    "metrics",
    "open_region_writer",
    "patch_map",
    "read",
    "sliding_window",
    "transforms",
    "views",
    "write",
    "write_report",
]
