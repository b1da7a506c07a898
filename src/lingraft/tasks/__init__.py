"""Scores: retrieval of translations and language modelling."""

from .lm import evaluate_lm
from .retrieval import embed_sentences, evaluate_retrieval, nearest, retrieval_scores

__all__ = ["embed_sentences", "evaluate_lm", "evaluate_retrieval", "nearest", "retrieval_scores"]
