"""Training all languages through one body: objectives, the loop, and its checkpoints."""

from .activations import check_activations
from .build import (
    DEFAULTS,
    check_objective,
    distillation_trainer,
    head_trainer,
    language_model_trainer,
    natural_objective,
    resolve_training,
)
from .calibration import Calibration, calibrate_output
from .data import text_marks, text_stream
from .distillation import framed
from .language_modelling import causal_loss, masked_loss
from .loop import Trainer
from .meter import Progress
from .parallel import check_share
from .precision import autocast, default_device, resolve_precision
from .replicas import check_replicas, threads_shared
from .tracking import Tracking, check_trackers

__all__ = [
    "DEFAULTS",
    "Calibration",
    "Progress",
    "Tracking",
    "Trainer",
    "autocast",
    "calibrate_output",
    "causal_loss",
    "check_activations",
    "check_objective",
    "check_replicas",
    "check_share",
    "check_trackers",
    "default_device",
    "distillation_trainer",
    "framed",
    "head_trainer",
    "language_model_trainer",
    "masked_loss",
    "natural_objective",
    "resolve_precision",
    "resolve_training",
    "text_marks",
    "text_stream",
    "threads_shared",
]
