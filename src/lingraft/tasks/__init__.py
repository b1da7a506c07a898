"""Task models, trained in English and used in the new language, and scores.

    tagger = load_tagger("my-tagger")
    tagger.predict([["Dogs", "bark", "."]])

Names are loaded when they are first used: reading examples needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names

if TYPE_CHECKING:
    from .intervals import Counts, bootstrap_interval
    from .lm import evaluate_lm
    from .loop import FinetuneProgress, Task, train_task
    from .nli import NliModel, load_nli
    from .parsing import Parser, load_parser
    from .retrieval import embed_sentences, evaluate_retrieval, nearest, retrieval_scores
    from .settings import FinetuneSettings
    from .tagging import TaggingModel, load_tagger

_HOMES = {
    "Counts": "intervals",
    "FinetuneProgress": "loop",
    "FinetuneSettings": "settings",
    "NliModel": "nli",
    "Parser": "parsing",
    "TaggingModel": "tagging",
    "Task": "loop",
    "bootstrap_interval": "intervals",
    "embed_sentences": "retrieval",
    "evaluate_lm": "lm",
    "evaluate_retrieval": "retrieval",
    "load_nli": "nli",
    "load_parser": "parsing",
    "load_tagger": "tagging",
    "nearest": "retrieval",
    "retrieval_scores": "retrieval",
    "train_task": "loop",
}

__all__ = [
    "Counts",
    "FinetuneProgress",
    "FinetuneSettings",
    "NliModel",
    "Parser",
    "TaggingModel",
    "Task",
    "bootstrap_interval",
    "embed_sentences",
    "evaluate_lm",
    "evaluate_retrieval",
    "load_nli",
    "load_parser",
    "load_tagger",
    "nearest",
    "retrieval_scores",
    "train_task",
]


__getattr__ = lazy_names(__name__, _HOMES)
