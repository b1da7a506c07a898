"""Whether a text is in the language it is said to be in, line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import langcodes

from ..corpus.scripts import is_spaceless
from .findings import Finding, percent

#: share of the text in its language below which that is told, and below which the text is worthless
WARNING, ERROR = 0.8, 0.6
#: share of English in a text of another language from which on it is told
ENGLISH = 0.15

#: languages that identifiers take for one another, or that one tag covers
_RELATIVES = (
    {"hr", "sr", "bs", "sh", "cnr"}, {"id", "ms"}, {"no", "nb", "nn", "da"}, {"cs", "sk"}, {"pt", "gl"},
    {"es", "an", "ext"}, {"ca", "oc"}, {"it", "vec", "lij"}, {"fr", "wa"}, {"nl", "af"}, {"bg", "mk"}, {"lv", "ltg"},
    {"zh", "yue", "wuu", "hak", "gan", "nan", "lzh"}, {"ar", "arz", "ary", "apc", "acm", "ars"}, {"fa", "prs"},
    {"ku", "ckb", "sdh"}, {"uz", "uzs"}, {"tr", "az", "crh"}, {"tt", "ba"}, {"el", "grc"}, {"he", "hbo"},
    {"gn", "gug"}, {"zu", "xh"}, {"rw", "rn"}, {"nso", "st", "tn"}, {"ht", "gcf", "gcr"}, {"ff", "fuv"}, {"en", "pcm"},
    {"sa", "hi"}, {"gom", "mr"},
)  # fmt: skip

#: shorter lines say little; a character of a script without spaces says as much as three letters
_CHARACTERS, _SPACELESS = 24, 8
#: lines that are looked at, and of a line so many characters
_LINES, _PREFIX = 1000, 200
#: with less text than this nothing is said
_FEWEST = 300
#: a line is not held against its language if that is at least this likely
_POSSIBLE = 0.1
#: the identifier's class for what is no language
_NOTHING = "zxx"


@lru_cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def base_language(tag: str) -> str:
    """The identifier's label for the language of a tag: of ``zh-Hant-TW`` and ``cmn`` it is ``zh``."""
    language = langcodes.get(tag).prefer_macrolanguage().language or tag
    return {"fil": "tl", "nb": "no", "sh": "sr", "gn": "gug"}.get(language, language)


def is_known(tag: str) -> bool:
    """Whether the identifier knows the language of a tag."""
    return base_language(tag) in _identifier().labels


def relatives(tag: str) -> frozenset[str]:
    """The language of a tag and those that an identifier takes for it."""
    language = base_language(tag)
    return frozenset({language}.union(*(group for group in _RELATIVES if language in group)))


@dataclass(frozen=True)
class Identified:
    """Shares of a text's characters by what it was identified as.

    own: in the language that was claimed, or one close to it. english: in English. shares: by label, the most frequent
    first. characters: that were looked at.
    """

    own: float
    english: float
    shares: dict[str, float]
    characters: int

    @property
    def enough(self) -> bool:
        """Whether there was enough text to say anything."""
        return self.characters >= _FEWEST

    @property
    def other(self) -> tuple[str, float]:
        """The most frequent label, and its share."""
        return next(iter(self.shares.items()), ("und", 0.0))


def identify(lines: Sequence[str], language: str) -> Identified:
    """What a text of which ``language`` is claimed is written in."""
    identifier = _identifier()
    own = relatives(language)
    counts: Counter[str] = Counter()
    is_own = total = 0
    for passage in _passages(lines):
        ranked = identifier.rank(passage)
        label = ranked[0][0]
        if label == _NOTHING:
            continue
        size = len(passage)
        total += size
        if sum(probability for other, probability in ranked if other in own) >= _POSSIBLE:
            is_own += size
        counts[label] += size
    shares = {label: size / max(1, total) for label, size in counts.most_common(5)}
    return Identified(is_own / max(1, total), counts["en"] / max(1, total), shares, total)


def _passages(lines: Sequence[str]) -> list[str]:
    """The lines that are long enough, at even distances; where most are short, neighbours are put together."""
    whole = [line for line in (line.strip()[:_PREFIX] for line in lines) if line]
    long = [line for line in whole if _long_enough(line)]
    if 2 * len(long) < len(whole) and len(long) < _LINES // 4:
        joined: list[str] = []
        part = ""
        for line in whole:
            part = f"{part} {line}".strip()
            if _long_enough(part):
                joined.append(part)
                part = ""
        long = joined + ([part] if part and not joined else [])
    step = max(1.0, len(long) / _LINES)
    return [long[int(k * step)] for k in range(int(len(long) / step))]


def _long_enough(line: str) -> bool:
    if len(line) >= _CHARACTERS:
        return True
    return len(line) >= _SPACELESS and sum(map(is_spaceless, line)) >= _SPACELESS


def language_findings(seen: Identified, language: str, where: str, statistics: dict[str, float]) -> list[Finding]:
    """Whether a text of the new language is that, or English; puts what was measured into ``statistics``."""
    known = is_known(language)
    statistics |= {"english": seen.english} | ({"own_language": seen.own} if known else {})
    label, share = seen.other
    others = ", ".join(f"{label} {percent(share)}" for label, share in list(seen.shares.items())[:3])
    numbers = {"own": seen.own, "english": seen.english, "threshold": WARNING}
    if not seen.enough:
        return [
            Finding(
                "language-unclear", "info", f"there is too little text to identify its language by ({seen.characters} "
                "characters in lines that are long enough)", "Look at it yourself.", language, where,
            )
        ]  # fmt: skip
    if base_language(language) != "en" and seen.english >= 0.5:
        found = Finding(
            "target-is-english", "error",
            f"{percent(seen.english)} of the text that should be '{language}' is English",
            "The files were mixed up, or the text was never translated: give the text of the new language.",
            language, where, numbers,
        )  # fmt: skip
        return [found]
    if not known:
        found = Finding(
            "language-unknown", "info",
            f"the identifier does not know '{language}'; to it the text looks like {others}",
            "Make sure yourself that the text is in that language.", language, where, numbers,
        )  # fmt: skip
        return [found]
    if seen.own < WARNING:
        return [
            Finding(
                "language", "error" if seen.own < ERROR else "warning",
                f"only {percent(seen.own)} of the text is '{language}'; it was identified as {others}",
                f"Give --to the text's own language, or leave out the lines that are not '{language}'.",
                language, where, numbers,
            )
        ]  # fmt: skip
    more: list[Finding] = []
    if base_language(language) != "en" and seen.english >= ENGLISH:
        more.append(
            Finding(
                "much-english", "warning", f"{percent(seen.english)} of the text is English",
                "Leave out the lines that were not translated; the English side has them already.", language, where,
                {"english": seen.english, "threshold": ENGLISH},
            )
        )  # fmt: skip
    if label != base_language(language) and share > 0.5:
        more.append(
            Finding(
                "close-language", "info",
                f"to the identifier most of the text looks like '{label}' ({percent(share)}), which it cannot tell "
                f"from '{language}' well", f"If it is '{label}', say so with --to.", language, where, numbers,
            )
        )  # fmt: skip
    return more


def english_findings(seen: Identified, where: str, language: str | None, statistics: dict[str, float]) -> list[Finding]:
    """Whether a text that should be English is, of which ``en`` was claimed."""
    statistics["english_side"] = seen.own
    if not seen.enough or seen.own >= WARNING:
        return []
    others = ", ".join(f"{label} {percent(share)}" for label, share in list(seen.shares.items())[:3])
    return [
        Finding(
            "english-side", "error" if seen.own < ERROR else "warning",
            f"only {percent(seen.own)} of the text that should be English is; it was identified as {others}",
            "In a bitext English comes first; leave out the pairs whose first side is not English.", language, where,
            {"own": seen.own, "threshold": WARNING},
        )
    ]  # fmt: skip
