"""What is in the lazy table beside this file; written by `make stubs`."""

from kauldron.volumes.metrics.case_state import CaseMetric as CaseMetric
from kauldron.volumes.metrics.case_state import CaseState as CaseState
from kauldron.volumes.metrics.intensities import psnr as psnr
from kauldron.volumes.metrics.intensities import ssim as ssim
from kauldron.volumes.metrics.intensity_members import MeanAbsoluteError as MeanAbsoluteError
from kauldron.volumes.metrics.intensity_members import MeanSquaredError as MeanSquaredError
from kauldron.volumes.metrics.intensity_members import Psnr as Psnr
from kauldron.volumes.metrics.intensity_members import Ssim as Ssim
from kauldron.volumes.metrics.intensity_members import Tre as Tre
from kauldron.volumes.metrics.landmarks import tre as tre
from kauldron.volumes.metrics.overlap import dice as dice
from kauldron.volumes.metrics.region_members import Dice as Dice
from kauldron.volumes.metrics.region_members import Hausdorff as Hausdorff
from kauldron.volumes.metrics.region_members import SurfaceDice as SurfaceDice
from kauldron.volumes.metrics.region_members import SurfaceDistance as SurfaceDistance
from kauldron.volumes.metrics.surfaces import SurfaceDistances as SurfaceDistances
from kauldron.volumes.metrics.surfaces import hausdorff as hausdorff
from kauldron.volumes.metrics.surfaces import surface_dice as surface_dice
from kauldron.volumes.metrics.surfaces import surface_distance as surface_distance

__all__ = [
    "CaseMetric",
    "CaseState",
    "Dice",
    "Hausdorff",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Psnr",
    "Ssim",
    "SurfaceDice",
    "SurfaceDistance",
    "SurfaceDistances",
    "Tre",
    "dice",
    "hausdorff",
    "psnr",
    "ssim",
    "surface_dice",
    "surface_distance",
    "tre",
]
