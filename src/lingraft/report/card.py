"""Model cards: what a model is, what it was made of and what it is worth, as the README.md of its folder.

The format is that of the Hugging Face hub: YAML in front, for machines, Markdown behind. A card is a function of the
recipe, of run.json and of the base model's card. It has no clock times and no paths, so a run that is resumed or
repeated has the same one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import langcodes
import yaml

from ..cache import CARD, write_aside
from ..evidence import BUILTIN, BUILTIN_LICENCE
from ..recipe import TRAIN, Recipe
from .summary import score_rows

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

#: what Markdown and HTML give a meaning to, wherever it stands
_MARKUP = re.compile(r"([\\`*_{}\[\]()!|~$])")

#: and what only at the beginning of a line: headings, lists, rules
_LEADING = re.compile(r"^([#+=-]|\d{1,9}(?=[.)](?: |$)))")

_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})

#: a repository of the hub; and the folder in which its cache keeps a state of one
_REPOSITORY = re.compile(r"[\w.-]+(?:/[\w.-]+)?", re.ASCII)
_SNAPSHOT = re.compile(r"models--([\w.-]+?)(?:--([\w.-]+))?/snapshots/[^/]+/?$", re.ASCII)

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}", re.ASCII)

_PIPELINES = {"sentence": "sentence-similarity", "masked": "fill-mask", "causal": "text-generation"}

_OBJECTIVES = {
    "distill": "distillation of sentences (`distill`), each pulled to where the English model has its translation",
    "mlm": "masked language modelling (`mlm`) on both languages through one encoder",
    "clm": "causal language modelling (`clm`) on both languages through one decoder",
}

_PAPER = (
    "Ke Tran, [From English To Foreign Languages: Transferring Pre-trained Language Models]"
    "(https://arxiv.org/abs/2002.07306), 2020"
)


def write_card(
    folder: Path, recipe: Recipe, run: Mapping[str, Any], language: str | None, base_card: str | None = None
) -> None:
    """Writes the model card of a run's model into its folder, in place of whatever README.md is there.

    folder: of the model. run: what run.json holds. language: the model's new language, or None for the English one.
    base_card: the text of the base model's own card, from which its licence is taken. recipe: of the run, resolved.
    """
    write_aside(folder / CARD, model_card(folder, recipe, run, language, base_card))


def model_card(
    folder: Path, recipe: Recipe, run: Mapping[str, Any], language: str | None, base_card: str | None = None
) -> str:
    """The text of a model card.

    folder, recipe, run, language, base_card: as for `write_card`.
    """
    from huggingface_hub import ModelCardData

    card = _Card(folder, recipe, run, language, base_card)
    return f"---\n{ModelCardData(**card.metadata()).to_yaml()}\n---\n\n{card.body()}"


def plain(text: str) -> str:
    """Text from data as Markdown that shows it and nothing else: one line, no markup, no HTML, no links."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    escaped = _MARKUP.sub(r"\\\1", " ".join(shown.split()).translate(_HTML))
    escaped = _LEADING.sub(lambda found: f"&#{ord(found[1][0])};{found[1][1:]}", escaped)
    return escaped.replace("://", ":&#47;&#47;").replace("www.", "www&#46;").replace("@", "&#64;")


def base_license(card: str | None) -> dict[str, str]:
    """``license``, ``license_name`` and ``license_link`` as a model's card has them; empty where it says nothing."""
    front = re.match(r"\s*---\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", card or "", re.DOTALL)
    try:
        said = yaml.safe_load(front[1]) if front else None
    except yaml.YAMLError:
        said = None
    given = said.get("license") if isinstance(said, Mapping) else None
    if isinstance(given, list) and len(given) == 1:
        given = given[0]
    if not isinstance(said, Mapping) or not isinstance(given, str) or not _LICENSE.fullmatch(given):
        return {}
    more = {key: said.get(key) for key in ("license_name", "license_link")}
    return {"license": given} | {key: value for key, value in more.items() if isinstance(value, str)}


def _repository(source: str) -> str | None:
    """The hub's name of a source model, where it has one that is known."""
    if cached := _SNAPSHOT.search(Path(source).as_posix()):
        return "/".join(filter(None, cached.groups()))
    return source if _REPOSITORY.fullmatch(source) and not Path(source).exists() else None


def _name(given: str) -> str:
    """A file, or a file pair, without its folders; a data set of the hub as it is."""
    if given.startswith("hf:"):
        dataset, colon, rest = given.removeprefix("hf:").partition(":")
        return f"hf:{dataset if _REPOSITORY.fullmatch(dataset) else Path(dataset).name}{colon}{rest}"
    return ", ".join(Path(part).name for part in given.split(","))


class _Card:
    """What a card says, taken together from recipe, run.json and folder."""

    def __init__(
        self, folder: Path, recipe: Recipe, run: Mapping[str, Any], language: str | None, base_card: str | None
    ) -> None:
        self.recipe, self.run, self.language = recipe, run, language
        self.sentence = (folder / "modules.json").is_file()
        self.loader, self.pipeline = self._kind(folder)
        self.repository = _repository(recipe.source)
        self.base = self.repository or Path(recipe.source).name
        self.license = base_license(base_card)
        self.languages = recipe.languages if language is None else (language,)
        self.unchanged = language is None and recipe.training.leaves_english

    def _kind(self, folder: Path) -> tuple[str, str]:
        """The class that loads the folder, and the hub's name for what it does."""
        if self.sentence:
            return "SentenceTransformer", _PIPELINES["sentence"]
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        architecture = (config.get("architectures") or [""])[0]
        if architecture.endswith("ForMaskedLM"):
            return "AutoModelForMaskedLM", _PIPELINES["masked"]
        if architecture.endswith(("ForCausalLM", "LMHeadModel")):
            return "AutoModelForCausalLM", _PIPELINES["causal"]
        loader = "AutoModelForPreTraining" if architecture.endswith("ForPreTraining") else "AutoModel"
        return loader, "feature-extraction"

    def _of(self, key: str, language: str) -> Any:
        """What run.json has of a language under a key."""
        return self.run[key][language] if self.recipe.several else self.run[key]

    # ---- for machines

    def metadata(self) -> dict[str, Any]:
        """The keys of the YAML block, as `ModelCardData` takes them."""
        tag = self.language or "en"
        code = langcodes.Language.get(tag).language or tag
        values: dict[str, Any] = {
            "language": [code],
            # the hub's `language` takes ISO 639 codes alone
            "language_bcp47": [tag] if tag != code else None,
            **self.license,
            "base_model": self.repository,
            "library_name": "sentence-transformers" if self.sentence else "transformers",
            "pipeline_tag": self.pipeline,
            "tags": ["lingraft", "cross-lingual-transfer", *(["sentence-transformers"] if self.sentence else [])],
            "datasets": self._datasets() or None,
        }
        if results := self._results():
            values |= {
                "metrics": sorted({result.metric_type for result in results}),
                "model_name": f"{Path(self.base).name}-{tag}",
                "eval_results": results,
            }
        return {key: value for key, value in values.items() if value is not None}

    def _datasets(self) -> list[str]:
        """Data sets of the hub."""
        names = [*self.recipe.corpus.source_text]
        for language in self.languages:
            given = self.recipe.given(language)
            names += [*given.bitext, *given.text]
        found = [name.removeprefix("hf:").partition(":")[0] for name in names if name.startswith("hf:")]
        return sorted({name for name in found if _REPOSITORY.fullmatch(name)})

    def _results(self) -> list[EvalResult]:
        """Scores of this very model in the hub's form; the English model has those of its own text alone."""
        from huggingface_hub import EvalResult

        found = []
        for language in self.languages if self.language else ():
            scores = self._of("scores", language)
            state = scores.get("trained") or scores.get("grafted") or {}
            if retrieval := state.get("retrieval"):
                where: dict[str, Any] = {
                    "dataset_type": "bitext",
                    "dataset_name": _name(self.recipe.given(language).eval_bitext or ""),
                }
                found += [
                    EvalResult(
                        task_type="translation-retrieval", task_name="Translation retrieval", **where,
                        metric_type="accuracy", metric_name=what, metric_value=round(retrieval[key], 4),
                    )
                    for key, what in (("en_to_xx", f"English to {language}"), ("xx_to_en", f"{language} to English"))
                ]  # fmt: skip
            if lm := state.get("lm_xx"):
                found.append(
                    EvalResult(
                        task_type=self.pipeline, task_name="Language modelling", dataset_type="text",
                        dataset_name="held-out lines of the training text", metric_type="bits_per_byte",
                        metric_name="bits per byte", metric_value=round(lm["bits_per_byte"], 4),
                    )
                )  # fmt: skip
        return found

    # ---- for people

    def body(self) -> str:
        """The Markdown behind the YAML block."""
        sections = [
            ("", self._title()),
            ("How to load it", self._loading()),
            ("What it was made of", self._data()),
            ("How it was made", self._method()),
            ("Scores", self._scores()),
            ("Limits", self._limits()),
            ("Licence", self._licence()),
        ]
        return "\n".join(f"## {title}\n\n{text}\n" if title else f"{text}\n" for title, text in sections if text)

    def _link(self) -> str:
        """The base model, linked where it has an address."""
        if self.repository:
            return f"[{plain(self.repository)}](https://huggingface.co/{self.repository})"
        return plain(self.base)

    def _title(self) -> str:
        base = plain(Path(self.base).name)
        if self.language:
            others = "".join(f", `{tag}`" for tag in self.recipe.languages if tag != self.language)
            what = (
                f"{self._link()} with a vocabulary of its own for the language `{self.language}`, grafted by lingraft "
                f"{self.run['versions']['lingraft']}. It reads `{self.language}`, not English."
            )
            if self.recipe.training.encoder == "own":
                what += " Its encoder is a copy of the English model's, trained for this language alone."
            elif others and self.run.get("training"):
                what += f" Its body was trained together with English{others}."
            if self.sentence:
                what += f" Its sentence embeddings lie in the space of the English model's: {self._english_side()}"
            return f"# {base} for {self.language}\n\n{what}"
        languages = ", ".join(f"`{language}`" for language in self.languages)
        if self.unchanged:
            what = f"A copy of {self._link()}, unchanged: the English side of the run that gave it {languages}."
        else:
            what = f"{self._link()} as it is after training together with {languages}, by lingraft: its English side."
        return f"# {base}, English side\n\n{what}"

    def _english_side(self) -> str:
        cosine = self._of("scores", self.languages[0]).get("english_cosine")
        if self.recipe.training.leaves_english:
            return "embed English with the English model, which is unchanged."
        said = f" (mean cosine to the untouched one {cosine:.4f})" if cosine is not None else ""
        return f"embed English with the English model of the same run{said}."

    def _loading(self) -> str:
        if self.sentence:
            code = (
                "from sentence_transformers import SentenceTransformer\n\n"
                'model = SentenceTransformer("FOLDER_OR_REPOSITORY")\n'
                'embeddings = model.encode(["..."])'
            )
        else:
            code = (
                f"from transformers import AutoTokenizer, {self.loader}\n\n"
                'tokenizer = AutoTokenizer.from_pretrained("FOLDER_OR_REPOSITORY")\n'
                f'model = {self.loader}.from_pretrained("FOLDER_OR_REPOSITORY")'
            )
        return f"```python\n{code}\n```"

    def _data(self) -> str:
        if self.unchanged:
            return ""
        rows = []
        for language in self.languages:
            mark = f"`{language}`: " if len(self.languages) > 1 else ""
            rows += [(mark + what, names, size) for what, names, size in self._language_data(language)]
        if english := self.recipe.corpus.source_text:
            counts = self.run["corpus"].get("en", self.run["corpus"]).get("source_text", {})
            rows.append(("English text", english, _count(counts.get("kept"), "lines")))
        lines = [f"| {what} | {', '.join(plain(_name(n)) for n in names)} | {size} |" for what, names, size in rows]
        return "\n".join(["| | from | size |", "|---|---|---|", *lines]) if lines else ""

    def _language_data(self, language: str) -> list[tuple[str, Sequence[str], str]]:
        given = self.recipe.given(language)
        counts, table, vocabulary = (self._of(key, language) for key in ("corpus", "table", "vocabulary"))
        rows: list[tuple[str, Sequence[str], str]] = []
        if given.bitext:
            rows.append(("sentence pairs", given.bitext, _count(counts.get("bitext", {}).get("kept"), "pairs")))
        if given.text:
            rows.append(("text", given.text, _count(counts.get("text", {}).get("kept"), "lines")))
        entries = sum(table.get("lexicon_entries", {}).values()) or None
        if given.lexicon:
            rows.append(("dictionary", given.lexicon, _count(entries, "entries")))
        if given.vectors:
            rows.append(("word vectors", ["trained on the text" if given.vectors == TRAIN else given.vectors], ""))
        named = [given.tokenizer] if given.tokenizer else ["trained for this model"]
        rows.append(("vocabulary", named, _count(vocabulary["size"], "tokens")))
        if given.eval_bitext:
            size = _count(counts.get("eval_bitext", {}).get("kept"), "pairs")
            rows.append(("held-out pairs, for scores only", [given.eval_bitext], size))
        return rows

    def _method(self) -> str:
        said = []
        if self.language:
            table = self._of("table", self.language)
            shares = ", ".join(f"{plain(name)} {100 * share:.1f} %" for name, share in table["shares"].items())
            said.append(
                "Each new token embedding is a mixture of English ones, weighted by how tokens of the two languages "
                f"correspond, after {_PAPER}. What the rows of the vocabulary rest on: {shares}. Tokens with evidence "
                f"make up {100 * table['text_coverage']:.1f} % of running text."
            )
        training = self.run.get("training")
        if self.unchanged:
            said.append("Nothing in this model was trained.")
        elif training:
            settings = self.recipe.training
            objective = _OBJECTIVES.get(settings.objective, plain(settings.objective))
            said.append(
                f"It was trained by {objective}: {training['steps']:,} steps"
                + (f", {alone:,} of them on new embeddings alone" if (alone := training["embedding_steps"]) else "")
                + f", {training['tokens']:,} tokens, batches of {settings.batch_size}, peak learning rates "
                f"{settings.learning_rate:g} (encoder) and {settings.embedding_learning_rate:g} (vocabulary), "
                f"{settings.precision}, seed {self.recipe.seed}."
            )
            if settings.replicas > 1:
                said.append(
                    f"That was the first of {settings.replicas} such trainings, each in an order of its own; the "
                    "weights are the mean of theirs."
                )
        else:
            said.append(f"It was not trained: this is the graft alone, seed {self.recipe.seed}.")
        return "\n\n".join(said)

    def _scores(self) -> str:
        if self.unchanged:
            return ""
        lines = []
        for language in self.languages:
            mark = f"`{language}`: " if len(self.languages) > 1 else ""
            lines += [f"| {mark}{what} | {value} |" for what, value in score_rows(self._of("scores", language))]
        if not lines:
            return "None: no held-out data was given."
        told = (
            "`untouched` is the English model before anything was done, `grafted` the new language before training, "
            "`trained` after it. Retrieval is by the nearest neighbour among all held-out sentences (cosine)."
        )
        return "\n".join(["| | |", "|---|---|", *lines, "", told])

    def _limits(self) -> str:
        if not self.language:
            return "It has what its base model has: read that model's card."
        said = [
            "It knows what its English base model knows, and has that model's biases and limits: read its card too.",
            "Nothing was measured but the scores above. Test it on your own task before you rely on it.",
        ]
        shares = self._of("table", self.language)["shares"]
        if shares.get("fallback"):
            said.append(
                f"{100 * shares['fallback']:.1f} % of its tokens had no evidence; their embeddings started at random"
                + (" and were only trained." if self.run.get("training") else " and still are.")
            )
        return "\n".join(f"- {line}" for line in said)

    def _licence(self) -> str:
        if self.license:
            said = (
                f"The base model's card names the licence `{plain(self.license['license'])}`, which is repeated here."
            )
        else:
            said = "The base model's licence is not known to lingraft. Check it before you pass this model on."
        if self.language or not self.unchanged:
            said += " Check the licences of the data above as well."
            if any(BUILTIN in self.recipe.given(language).lexicon for language in self.languages):
                said += f" The dictionary `{BUILTIN}`, which comes with lingraft, is {BUILTIN_LICENCE}."
        return said


def _count(number: int | None, what: str) -> str:
    return "" if number is None else f"{number:,} {what}"
