"""lingraft grafts a new language onto a pretrained English language model.

    import lingraft
    result = lingraft.transfer("path/to/model", to="fr", bitext="en-fr.tsv", out="french")
    print(result.scores)

Names are loaded when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .lazy import lazy_names

if TYPE_CHECKING:
    from .adaptation import adapt
    from .comparison import Comparison, compare
    from .doctor import Diagnosis, Finding, doctor
    from .errors import (
        CorpusError,
        InputError,
        LeaderError,
        LingraftError,
        MissingExtraError,
        ModelError,
        OutputError,
        RecipeError,
        RepositoryError,
        RunError,
        SelfCheckError,
        StoppedError,
        TableError,
    )
    from .evidence import Provenance, TranslationTable, build_table
    from .evidence.alignment import AlignerSettings, Alignment, AlignmentModel, align, score_alignment
    from .inputs import Lines
    from .push import PushResult, push
    from .recipe import Recipe
    from .report import Report, report
    from .surgery import LanguageModel, graft, load_model, save_model
    from .taskruns import evaluate, finetune
    from .tasks import evaluate_lm, evaluate_retrieval
    from .tasks.settings import FinetuneSettings
    from .tasks.swap import SwapResult, swap
    from .transfer import TransferResult, resume, transfer
    from .vocabulary import train_tokenizer

__version__ = "0.1.0"

_HOMES = {
    "AlignerSettings": "evidence.alignment",
    "Alignment": "evidence.alignment",
    "AlignmentModel": "evidence.alignment",
    "Comparison": "comparison",
    "CorpusError": "errors",
    "Diagnosis": "doctor",
    "Finding": "doctor",
    "FinetuneSettings": "tasks.settings",
    "InputError": "errors",
    "LanguageModel": "surgery",
    "LeaderError": "errors",
    "Lines": "inputs",
    "LingraftError": "errors",
    "MissingExtraError": "errors",
    "ModelError": "errors",
    "OutputError": "errors",
    "Provenance": "evidence",
    "PushResult": "push",
    "Recipe": "recipe",
    "RecipeError": "errors",
    "Report": "report",
    "RepositoryError": "errors",
    "RunError": "errors",
    "SelfCheckError": "errors",
    "StoppedError": "errors",
    "SwapResult": "tasks.swap",
    "TableError": "errors",
    "TransferResult": "transfer",
    "TranslationTable": "evidence",
    "adapt": "adaptation",
    "align": "evidence.alignment",
    "build_table": "evidence",
    "compare": "comparison",
    "doctor": "doctor",
    "evaluate": "taskruns",
    "evaluate_lm": "tasks",
    "evaluate_retrieval": "tasks",
    "finetune": "taskruns",
    "graft": "surgery",
    "load_model": "surgery",
    "push": "push",
    "report": "report",
    "resume": "transfer",
    "save_model": "surgery",
    "score_alignment": "evidence.alignment",
    "swap": "tasks.swap",
    "train_tokenizer": "vocabulary",
    "transfer": "transfer",
}

__all__ = [
    "AlignerSettings",
    "Alignment",
    "AlignmentModel",
    "Comparison",
    "CorpusError",
    "Diagnosis",
    "Finding",
    "FinetuneSettings",
    "InputError",
    "LanguageModel",
    "LeaderError",
    "Lines",
    "LingraftError",
    "MissingExtraError",
    "ModelError",
    "OutputError",
    "Provenance",
    "PushResult",
    "Recipe",
    "RecipeError",
    "Report",
    "RepositoryError",
    "RunError",
    "SelfCheckError",
    "StoppedError",
    "SwapResult",
    "TableError",
    "TransferResult",
    "TranslationTable",
    "adapt",
    "align",
    "build_table",
    "compare",
    "doctor",
    "evaluate",
    "evaluate_lm",
    "evaluate_retrieval",
    "finetune",
    "graft",
    "load_model",
    "push",
    "report",
    "resume",
    "save_model",
    "score_alignment",
    "swap",
    "train_tokenizer",
    "transfer",
]


__getattr__ = lazy_names(__name__, _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


class _Package(ModuleType):
    """Importing the module `transfer`, from wherever, must not put it in the place of the function of that name."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
