from __future__ import annotations

import copy

import pytest

from lingraft.report.findings import find_all

RETRIEVAL = {"en_to_xx": 0.9, "xx_to_en": 0.9, "intervals": {"en_to_xx": [0.85, 0.95], "xx_to_en": [0.85, 0.95]}}
GOOD = {
    "corpus": {"bitext": {"kept": 50_000, "read": 50_000, "malformed": 0}, "eval_bitext": {"kept": 500, "read": 500}},
    "vocabulary": {"unknown_share": 0.0},
    "table": {"shares": {"bitext": 1.0}, "text_coverage": 1.0},
    "scores": {"grafted": {"retrieval": RETRIEVAL}, "trained": {"retrieval": RETRIEVAL}, "english_cosine": 1.0},
}
TRAINING = {"steps": 100, "history": [{"step": k, "stage": "all", "loss_xx": 5 - 0.01 * k} for k in range(100)]}


def found(own=GOOD, training=TRAINING, **numbers):
    return find_all({"training": training, **numbers}, {"fr": own})


def changed(path, value):
    own = copy.deepcopy(GOOD)
    *keys, last = path.split(".")
    place = own
    for key in keys:
        place = place[key]
    place[last] = value
    return own


def test_a_good_run_has_no_findings():
    assert found() == []


@pytest.mark.parametrize(
    ("path", "value", "severity", "what"),
    [
        ("corpus.bitext.kept", 3000, "hint", "bitext is small: 3,000"),
        ("corpus", {"eval_bitext": {}}, "hint", "no sentence pairs"),
        ("corpus", {"bitext": {"kept": 50_000}}, "warning", "no held-out sentence pairs"),
        ("corpus.bitext.malformed", 500, "warning", "500 lines of bitext are malformed"),
        ("vocabulary.unknown_share", 0.03, "warning", "cannot write 3.0 %"),
        (
            "vocabulary.fertility",
            {"pairs_target": {"tokens": 200}, "pairs_english": {"tokens": 100}},
            "hint",
            "2.0 times",
        ),
        ("table.text_coverage", 0.9, "warning", "10.0 % of the running text"),
        ("table.shares", {"fallback": 0.4}, "hint", "40.0 % of the tokens"),
        ("table.vectors", {"precision": 0.01, "kind": "identical"}, "warning", "word vectors could not be aligned"),
        ("table.pairs_too_long", 7, "hint", "7 sentence pairs were too long"),
        ("scores.english_cosine", 0.98, "warning", "English moved"),
        ("scores.trained", {"retrieval": RETRIEVAL | {"xx_to_en": 0.7}}, "warning", "made retrieval to English worse"),
        (
            "scores.trained",
            {"retrieval": {"en_to_xx": 0.4, "xx_to_en": 0.95}},
            "warning",
            "40.0 % find their translation",
        ),
    ],
)
def test_what_is_weak_is_found_with_advice(path, value, severity, what):
    matching = [each for each in found(changed(path, value)) if what in each.what]
    assert [each.severity for each in matching] == [severity]
    assert matching[0].advice


@pytest.mark.parametrize(
    ("training", "what"),
    [
        ({"rollbacks": 2, "skipped_steps": [4, 9]}, "diverged 2 times and went back (steps left out: 4, 9)"),
        ({"updates_not_finite": 3}, "3 steps had a gradient that is no number"),
        ({"out_of_memory": 1, "micro_batch": 8}, "halved, to 8"),
        ({"history": [{"stage": "all", "loss_xx": 1 + 0.1 * k} for k in range(40)]}, "loss_xx ended no lower"),
    ],
)
def test_training_that_went_wrong_is_found(training, what):
    assert [each for each in found(training=TRAINING | training) if what in each.what]


def test_a_loss_is_judged_within_its_last_stage():
    history = [{"stage": "head", "loss_xx": 0.5}] * 30 + TRAINING["history"]
    assert found(training=TRAINING | {"history": history}) == []


def test_text_that_is_predicted_no_better_is_found():
    own = changed("scores", {state: {"lm_xx": {"loss": 3.0}} for state in ("grafted", "trained")})
    assert any("predicted no better" in each.what for each in found(own))


def test_without_training_it_is_said_once():
    assert [each.what for each in found(training=None)] == ["The model was grafted and not trained."]
    notes = ["no training: objective 'mlm' needs text"]
    assert [each.what for each in found(training=None, notes=notes)] == ["No training: objective 'mlm' needs text."]


def test_warnings_come_first_and_languages_are_named():
    weak = changed("scores.english_cosine", 0.5)
    weak["corpus"]["bitext"]["kept"] = 10
    both = find_all({"training": TRAINING}, {"fr": GOOD, "hi": weak})
    assert [(each.severity, each.language) for each in both] == [("warning", "hi"), ("hint", "hi")]
    assert str(both[0]).startswith("hi: English moved")
