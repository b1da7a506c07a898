"""The scripts that a text is written in, among them simplified and traditional Chinese."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import langcodes

from .findings import Finding, percent

#: share of letters of scripts that are neither the language's nor Latin from which on it is told
WARNING = 0.1
#: share of a language's letters that must be in the script its tag names
OWN = 0.7
#: share of Han characters of the other kind from which on it is told
OTHER_HAN = 0.3

#: how the names of a script's characters begin in Unicode, by its ISO 15924 code
_NAMES: dict[str, tuple[str, ...]] = {
    "Latn": ("LATIN",), "Cyrl": ("CYRILLIC",), "Grek": ("GREEK",), "Arab": ("ARABIC",), "Hebr": ("HEBREW",),
    "Deva": ("DEVANAGARI",), "Beng": ("BENGALI",), "Guru": ("GURMUKHI",), "Gujr": ("GUJARATI",), "Orya": ("ORIYA",),
    "Taml": ("TAMIL",), "Telu": ("TELUGU",), "Knda": ("KANNADA",), "Mlym": ("MALAYALAM",), "Sinh": ("SINHALA",),
    "Thai": ("THAI",), "Laoo": ("LAO",), "Tibt": ("TIBETAN",), "Mymr": ("MYANMAR",), "Khmr": ("KHMER",),
    "Geor": ("GEORGIAN",), "Armn": ("ARMENIAN",), "Ethi": ("ETHIOPIC",), "Hang": ("HANGUL",),
    "Hans": ("CJK", "IDEOGRAPHIC"), "Hant": ("CJK", "IDEOGRAPHIC"), "Jpan": ("CJK", "HIRAGANA", "KATAKANA"),
    "Kore": ("HANGUL", "CJK"), "Mong": ("MONGOLIAN",), "Thaa": ("THAANA",), "Syrc": ("SYRIAC",), "Tfng": ("TIFINAGH",),
    "Olck": ("OL",), "Nkoo": ("NKO",), "Cher": ("CHEROKEE",), "Cans": ("CANADIAN",), "Adlm": ("ADLAM",),
    "Mtei": ("MEETEI",), "Vaii": ("VAI",), "Yiii": ("YI",), "Java": ("JAVANESE",), "Bali": ("BALINESE",),
}  # fmt: skip

#: frequent characters of which the two ways of writing Chinese each have a form that the other has not
_SIMPLIFIED = (
    "们这来个国时说为会对过还没开关问间现发样动经学长应业实让给从见车东书话语谁请难电视听写买卖钱银铁门马鸟鱼龙"
)
_TRADITIONAL = (
    "們這來個國時說為會對過還沒開關問間現發樣動經學長應業實讓給從見車東書話語誰請難電視聽寫買賣錢銀鐵門馬鳥魚龍"
)

_CHARACTERS = 400_000
_FEWEST = 200


@lru_cache(1 << 16)
def _script(character: str) -> str | None:
    """How the name of a letter begins; None for what is no letter."""
    if unicodedata.category(character)[0] not in "LM":
        return None
    return unicodedata.name(character, "?").split()[0].split("-")[0]


def scripts_of(lines: Sequence[str]) -> dict[str, float]:
    """Shares of a text's letters by how the names of their characters begin."""
    counts: Counter[str] = Counter()
    for character, number in Counter("".join(lines)[:_CHARACTERS]).items():
        script = _script(character)
        if script not in (None, "COMBINING", "MODIFIER", "VARIATION"):
            counts[str(script)] += number
    total = counts.total()
    if total < _FEWEST:
        return {}
    return {script: number / total for script, number in counts.most_common()}


def script_findings(lines: Sequence[str], language: str, where: str, statistics: dict[str, float]) -> list[Finding]:
    """Whether a text is in the script of its language; puts what was measured into ``statistics``."""
    shares = scripts_of(lines)
    tag = langcodes.get(language)
    code = tag.maximize().script
    named = tag.script is not None
    if not shares or code is None or code not in _NAMES:
        return []
    own = sum(shares.get(name, 0.0) for name in _NAMES[code])
    # names, units and code are in Latin letters everywhere
    strange = {name: share for name, share in shares.items() if name not in (*_NAMES[code], "LATIN")}
    statistics |= {"own_script": own, "strange_scripts": sum(strange.values())}
    listed = ", ".join(f"{name.capitalize()} {percent(share)}" for name, share in list(shares.items())[:3])
    found = []
    if own < OWN and (named or own + sum(strange.values()) < OWN or max(strange.values(), default=0.0) > own):
        found.append(
            Finding(
                "script", "warning" if named else "info",
                f"{percent(own)} of the letters are of the script {code}, in which '{language}' is written: {listed}",
                f"Name the script in the tag ('{tag.language}-Latn' and the like), or give text in {code}.",
                language, where, {"own": own, "threshold": OWN},
            )
        )  # fmt: skip
    elif sum(strange.values()) >= WARNING:
        found.append(
            Finding(
                "mixed-scripts", "warning",
                f"{percent(sum(strange.values()))} of the letters are of other scripts than {code} and Latin: {listed}",
                "Leave out the lines in other scripts: each takes room in the vocabulary.", language, where,
                {"strange": sum(strange.values()), "threshold": WARNING},
            )
        )  # fmt: skip
    if code in ("Hans", "Hant"):
        found += _chinese_findings(lines, language, code, named or tag.territory is not None, where, statistics)
    return found


def _chinese_findings(
    lines: Sequence[str], language: str, code: str, named: bool, where: str, statistics: dict[str, float]
) -> list[Finding]:
    counts = Counter("".join(lines)[:_CHARACTERS])
    simplified, traditional = (
        sum(counts[character] for character in set(of) - set(others))
        for of, others in ((_SIMPLIFIED, _TRADITIONAL), (_TRADITIONAL, _SIMPLIFIED))
    )
    if simplified + traditional < _FEWEST // 10:
        return []
    other = (traditional if code == "Hans" else simplified) / (simplified + traditional)
    statistics["other_han"] = other
    if other < OTHER_HAN:
        return []
    kind, instead = ("traditional", "zh-Hant") if code == "Hans" else ("simplified", "zh-Hans")
    # `zh` says nothing of how it is written
    return [
        Finding(
            "han-characters", "warning" if named else "info",
            f"{percent(other)} of the characters that the two ways of writing Chinese write differently are {kind}",
            f"Say --to {instead} if that is meant; mixed text is better converted to one of them (opencc), as each "
            "form is a token of its own.",
            language, where, {"share": other, "threshold": OTHER_HAN},
        )
    ]  # fmt: skip
