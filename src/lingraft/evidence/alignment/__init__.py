"""Word alignment of a bitext: text in, links and posteriors out, without any external program.

`align` is the whole way. In the order of the data: `text` and `words` (tokens to ids), `ibm` (first stage),
`candidates`, `hmm` (second stage), `block` and `em` (training), `symmetrize`, `text` again; `model`, `score` and
`lexicon` for what comes out. Names are loaded when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .aligner import Alignment, BitextAligner, align
    from .em import Training
    from .lexicon import Lexicon, read_lexicon, write_lexicon
    from .model import AlignmentModel
    from .score import AlignmentScore, bootstrap_interval, read_alignment, score_alignment
    from .settings import AlignerSettings
    from .symmetrize import LinkPosteriors, Links

_HOMES = {
    "AlignerSettings": "settings",
    "Alignment": "aligner",
    "AlignmentModel": "model",
    "AlignmentScore": "score",
    "BitextAligner": "aligner",
    "Lexicon": "lexicon",
    "LinkPosteriors": "symmetrize",
    "Links": "symmetrize",
    "Training": "em",
    "align": "aligner",
    "bootstrap_interval": "score",
    "read_alignment": "score",
    "read_lexicon": "lexicon",
    "score_alignment": "score",
    "write_lexicon": "lexicon",
}

__all__ = [
    "AlignerSettings",
    "Alignment",
    "AlignmentModel",
    "AlignmentScore",
    "BitextAligner",
    "Lexicon",
    "LinkPosteriors",
    "Links",
    "Training",
    "align",
    "bootstrap_interval",
    "read_alignment",
    "read_lexicon",
    "score_alignment",
    "write_lexicon",
]

__getattr__ = lazy_names(__name__, _HOMES)
