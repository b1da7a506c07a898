"""The order of the stages, and nothing of what happens inside them.

Every stage is a folder below ``OUT/.cache`` named by the hash of its inputs, so a run that was stopped goes on where it
was. What comes before training is done for each language by itself.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from . import correspondence, stages, texts
from .cache import CARD, StageCache, digest, publish, remove_leftovers, write_aside
from .processes import processes
from .recipe import ONLY, Recipe
from .report import environment, peak_memory_mb, write_card
from .settling import settle_training, unused_lexicons
from .surgery import PICKLES, LanguageModel, load_model, resolve_model, without_weights
from .training import check_replicas, check_share

#: called with the stage's name, the share of it that is done (0 to 1) and a note for people
OnProgress = Callable[[str, float, str], None]

T = TypeVar("T")

_log = logging.getLogger("lingraft")


def result_folders(directory: Path, recipe: Recipe) -> dict[str, Path]:
    """Where each language's ``target`` and ``table.npz`` lie: in a folder of its own where there are several."""
    return {language: directory / language if recipe.several else directory for language in recipe.languages}


class Run:
    """The stages of one run, in order, and what each one says for run.json."""

    def __init__(self, recipe: Recipe, directory: Path, on_progress: OnProgress) -> None:
        self.recipe = recipe
        self.directory = directory
        self.folders = result_folders(directory, recipe)
        for folder in {directory, *self.folders.values()}:
            remove_leftovers(folder)
        self.cache = StageCache(directory / ".cache")
        self.progress = on_progress
        self.report: dict[str, Any] = environment()
        self.notes: list[str] = []

    def _step(self, name: str) -> correspondence.Update:
        def update(share: float, note: str = "") -> None:
            self.progress(name, share, note)

        update(0.0, "")
        return update

    def _for_each(self, name: str, make: Callable[[str, correspondence.Update], tuple[T, str]]) -> dict[str, T]:
        """A stage of every language, one after the other: what ``make`` gives for its tag, beside a note for people."""
        update = self._step(name)
        languages = self.recipe.languages

        def of(number: int, share: float, note: str = "") -> None:
            update((number + share) / len(languages), self._named(languages[number], note))

        made: dict[str, T] = {}
        notes = []
        for number, language in enumerate(languages):
            made[language], note = make(language, partial(of, number))
            notes.append(self._named(language, note))
        update(1.0, "; ".join(filter(None, notes)))
        return made

    def _named(self, language: str, note: str) -> str:
        """A note with the language in front, where that says anything."""
        return f"{language}: {note}" if note and self.recipe.several else note

    def _tell(self, key: str, of_each: Mapping[str, Any]) -> None:
        """Puts something of every language into run.json: as it is where there is one, else by language."""
        self.report[key] = dict(of_each) if self.recipe.several else of_each[self.recipe.languages[0]]

    def execute(self) -> dict[str, Any]:
        """Runs what has not been run and returns the content of run.json."""
        check_replicas(processes(), self.recipe.training.replicas)
        source_folder = self._source()
        inputs = self._inputs(source_folder)
        # read once to see that it is whole; the graft reads it again, and what comes before needs no numbers
        source = without_weights(load_model(source_folder, dtype=None))
        languages, english = self._prepared(source, inputs)
        training = self.recipe.training

        trained = None
        if training.objective != "none":
            update = self._step("training")
            trained = processes().together(
                stages.make_training, self.cache, source_folder, training, self.recipe.seed, languages, english, update,
                self.directory / "track",
            )  # fmt: skip
            self.report["training"] = trained.report
            update(1.0, f"{trained.report['steps']:,} steps")

        names = dict(zip(self.recipe.languages, languages, strict=True))

        def scores(language: str, update: correspondence.Update) -> tuple[dict[str, Any], str]:
            name = names[language]
            return stages.make_scores(name, languages[name], trained, update), ""

        self._tell("scores", self._for_each("scores", scores))
        for language, folder in self.folders.items():
            name = names[language]
            folder.mkdir(exist_ok=True)
            publish(languages[name].table.path, folder / "table.npz")
            publish(trained.targets[name] if trained else languages[name].graft.folder, folder / "target")
        publish(trained.source if trained else source_folder, self.directory / "source", PICKLES)
        self._conclude(source, next(iter(inputs.values())).model_digest)
        self._write_cards(source_folder)
        return self.report

    def _write_cards(self, source_folder: Path) -> None:
        """Puts a card beside each model; the base model's own, which it replaces, is where its licence is read."""
        path = source_folder / CARD
        base = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None
        for language, folder in self.folders.items():
            write_card(folder / "target", self.recipe, self.report, language, base)
        write_card(self.directory / "source", self.recipe, self.report, None, base)

    def _source(self) -> Path:
        """The folder of the source model, with its weights as safetensors."""
        folder = resolve_model(self.recipe.source, allow_pickle=self.recipe.allow_pickle)
        safe = stages.make_source(self.cache, folder) if self.recipe.allow_pickle else folder
        if safe != folder:
            self.notes.append("the source model's weights are a pickle; source/ has the same as safetensors")
        return safe

    def _inputs(self, source_folder: Path) -> dict[str, texts.Inputs]:
        """What each language starts from."""
        recipe = self.recipe
        files = {language: texts.input_texts(recipe, language) for language in recipe.languages}
        evidence = {language: texts.evidence_files(recipe, language) for language in recipe.languages}
        every = (*files.values(), *evidence.values(), texts.shared_texts(recipe))
        self.report["inputs"] = digests = {
            name: texts.text_digest(name) for name in dict.fromkeys(name for names in every for name in names)
        }

        def of(names: list[str]) -> dict[str, str]:
            return {name: digests[name] for name in names}

        return {
            language: texts.Inputs(recipe, source_folder, of(names), language, of(evidence[language]))
            for language, names in files.items()
        }

    def _prepared(
        self, source: LanguageModel, inputs: Mapping[str, texts.Inputs]
    ) -> tuple[dict[str, stages.Prepared], texts.Corpus]:
        """Every language up to its graft, by the name it has in losses, and the corpus that holds the English text."""
        several = self.recipe.several
        caches = {language: self.cache.of(language) if several else self.cache for language in inputs}
        corpora, english = self._corpora(source, inputs, caches)

        def vocabulary(language: str, _: correspondence.Update) -> tuple[correspondence.Vocabulary, str]:
            made = correspondence.make_vocabulary(caches[language], inputs[language], source, corpora[language])
            return made, f"{len(made.tokenizer):,} tokens"

        def table(language: str, update: correspondence.Update) -> tuple[correspondence.Table, str]:
            made = correspondence.make_table(
                caches[language], inputs[language], source, vocabularies[language], corpora[language], english, update,
            )  # fmt: skip
            return made, correspondence.describe_table(made.report)

        def graft(language: str, _: correspondence.Update) -> tuple[stages.Graft, str]:
            made = stages.make_graft(
                caches[language], inputs[language], vocabularies[language], tables[language], corpora[language]
            )
            return made, ""

        vocabularies = self._for_each("vocabulary", vocabulary)
        self._tell("vocabulary", {language: made.report for language, made in vocabularies.items()})
        tables = self._for_each("table", table)
        self._tell("table", {language: made.report for language, made in tables.items()})
        for language, made in tables.items():
            if warning := correspondence.warn_of_vectors(made.report):
                self.notes.append(self._named(language, warning))
                _log.warning("%s", self.notes[-1])
        grafts = self._for_each("graft", graft)
        self._tell("graft", {language: made.report for language, made in grafts.items()})
        return {
            language if several else ONLY: stages.Prepared(
                caches[language], inputs[language], corpora[language], tables[language], grafts[language]
            )
            for language in inputs
        }, english

    def _corpora(
        self, source: LanguageModel, inputs: Mapping[str, texts.Inputs], caches: Mapping[str, StageCache]
    ) -> tuple[dict[str, texts.Corpus], texts.Corpus]:
        """The clean text of every language, and the corpus that holds the English text.

        Settles what the recipe leaves open and refuses what the source model cannot do.
        """
        training, note = settle_training(self.recipe, source)
        if note:
            self.notes.append(note)
            self._step("training")(1.0, note)

        def corpus(language: str, _: correspondence.Update) -> tuple[tuple[texts.Corpus, dict[str, Any]], str]:
            made, counts = texts.make_corpus(caches[language], inputs[language])
            return (made, counts), texts.describe_corpus(counts)

        found = self._for_each("corpus", corpus)
        corpora = {language: made for language, (made, _) in found.items()}
        counts = {language: told for language, (_, told) in found.items()}
        english = next(iter(corpora.values()))
        if self.recipe.several:
            english, told = texts.make_english(self.cache, self.recipe, self.report["inputs"], list(corpora.values()))
            counts |= {"en": told} if told else {}
        self._tell("corpus", counts)
        check_share(processes(), training.batch_size)
        self.recipe = self.recipe.model_copy(update={"training": training})
        write_aside(self.directory / "recipe.yaml", self.recipe.to_yaml())
        return corpora, english

    def _conclude(self, source: LanguageModel, model_digest: str) -> None:
        """Puts into run.json what is known in the end."""
        self.notes += unused_lexicons(self.recipe)
        self.report["notes"] = self.notes
        self.report["language"] = self.recipe.model_dump(mode="json")["language"]
        self.report["source"] = {"name": self.recipe.source, "kind": source.kind, "hash": model_digest}
        self.report["recipe_hash"] = digest(self.recipe.model_dump(mode="json"))
        self.report["seconds"] = {name: round(value, 2) for name, value in self.cache.seconds.items()}
        self.report["cpu_seconds"] = {name: round(value, 2) for name, value in self.cache.cpu_seconds.items()}
        self.report["reused_stages"] = list(self.cache.reused)
        self.report["peak_memory_mb"] = peak_memory_mb()
        self.report["status"] = "done"
