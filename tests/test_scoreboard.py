"""The scoreboard: which cells there are, that each is done once whatever happens, and what the tables say."""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MODULES = ("lab", "scoreboard", "scoreboard_plan", "scoreboard_report", "scoreboard_store")
SENTENCES = 40


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The modules of the scoreboard; they import each other by their bare names, as when they are run."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import scoreboard
    import scoreboard_plan
    import scoreboard_report
    import scoreboard_store

    monkeypatch.setattr(scoreboard_report, "RESAMPLES", 50)
    yield SimpleNamespace(
        main=scoreboard, plan=scoreboard_plan, report=scoreboard_report, store=scoreboard_store,
    )  # fmt: skip
    for name in MODULES:
        sys.modules.pop(name, None)


def model(folder: Path, architecture: str = "BertModel") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"architectures": [architecture]}), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(folder.name.encode())
    return folder


@pytest.fixture
def data(tmp_path: Path) -> SimpleNamespace:
    """A lab with a line a file, two encoders and a decoder."""
    treebanks = [f"{bank}-ud-{part}" for bank in ("en_ewt", "vi_vtb") for part in ("train", "dev", "test")]
    names = ["nli/en.train.tsv", "xnli/dev.en.tsv", "xnli/test.en.tsv", "flores/devtest.en.txt", "mono/en.txt",
             *(f"ud/{name}.conllu" for name in (*treebanks, "en_pud-ud-test", "hi_pud-ud-test"))]  # fmt: skip
    for language in ("hi", "vi"):
        names += [f"xnli/test.{language}.tsv", f"flores/devtest.{language}.txt", f"mono/{language}.txt",
                  f"parallel/en-{language}.tsv", f"dictionaries/en-{language}.tsv"]  # fmt: skip
    for name in names:
        path = tmp_path / "lab" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name + "\n", encoding="utf-8")
    models = {name: model(tmp_path / name) for name in ("small", "multi")}
    decoder = model(tmp_path / "dec", "XForCausalLM")
    return SimpleNamespace(lab=tmp_path / "lab", out=tmp_path / "board", decoder=decoder, **models)


class Fake:
    """Does what commands leave behind, without them.

    right: of 40 sentences so many are right, by a word of the command. moved: a word of runs that train the English
    model too. stop: the command that is killed.
    """

    def __init__(
        self, board: Any, right: dict[str, int] | None = None, moved: str = "", stop: int | None = None
    ) -> None:
        self.board, self.right, self.moved, self.stop = board, right or {}, moved, stop
        self.commands: list[list[str]] = []

    def option(self, command: list[str], name: str) -> str:
        return command[command.index(name) + 1] if name in command else ""

    def __call__(self, command: list[str], log: Path, lock: Any) -> Any:
        self.commands.append(command)
        if self.stop == len(self.commands):
            raise KeyboardInterrupt
        if "bad" in " ".join(command):
            log.write_text("what is wrong\n", encoding="utf-8")
            raise subprocess.CalledProcessError(2, command)
        out, told = self.option(command, "--out"), {}
        if command[1] == "transfer" or "train" in command[1:3]:
            model(Path(out) / "target")
            english = model(Path(out) / "source")
            untouched = Path(command[2] if command[1] == "transfer" else command[3])
            changed = self.moved and self.moved in out
            (english / "model.safetensors").write_bytes(
                b"other" if changed else (untouched / "model.safetensors").read_bytes()
            )
            told = {"corpus": {"bitext": {"kept": 7}}, "vocabulary": {"size": 99},
                    "table": {"text_coverage": 0.5, "shares": {"fallback": 0.25}}}  # fmt: skip
        elif "score" in command:
            told = {"scores": {name: self.score(command) for name in command[command.index("--data") + 1 :]}}
        elif command[1] in ("init", "finetune", "swap", "adapt"):
            model(Path(out))
        else:
            Path(out).write_text("data\n", encoding="utf-8")
        return self.board.store.Ran(json.dumps(told), 2.0, 3.0)

    def score(self, command: list[str]) -> dict[str, Any]:
        words = " ".join(command)
        right = next((n for word, n in self.right.items() if word in words), 20)
        counts = {"hits": " ".join(["1"] * right + ["0"] * (SENTENCES - right)), "totals": " ".join(["1"] * SENTENCES)}
        names = ("accuracy", "las", "uas", "las_without_punct", "mean", "en_to_xx", "xx_to_en")
        text = {"tokens": 30, "words": 20, "characters": 90, "bytes": 99}
        bits = {"bits_per_byte": 1.5, "intervals": {"bits_per_byte": [1.4, 1.6]}}
        return {"counts": dict.fromkeys(names, counts), "text": text, **bits}


def planned(board: Any, data: SimpleNamespace, run: Any, *options: str) -> tuple[Any, list[Any], Any, Any]:
    """Store, cells and report of a command line."""
    base = ["--lab", str(data.lab), "--out", str(data.out), "--languages", "hi,vi", "--seeds", "0"]
    if "--sources" not in options:
        base += ["--sources", f"small={data.small}"]
    given, axes = board.main.parsed([*base, *options])
    store = board.store.Store(given.out, run)
    cells = list(board.plan.Plan(axes, store).cells())
    return store, cells, axes, board.report.Report(board.report.Board(cells, store), axes)


def named(cells: list[Any]) -> set[tuple[str, str, str, str, int]]:
    return {(cell.source, cell.language, cell.row.name, cell.task, cell.seed) for cell in cells}


def filled(board: Any, data: SimpleNamespace, run: Any, *options: str) -> Any:
    """Does all cells and returns a fresh report of them."""
    store, cells, _, _ = planned(board, data, run, *options)
    assert board.main.fill(cells, store, pause=0.01) == []
    return planned(board, data, run, *options)[3]


def test_cells_are_those_that_make_sense(board, data):
    sources = f"small={data.small},dec={data.decoder}"
    _, cells, _, _ = planned(
        board, data, None, "--sources", sources, "--baselines", f"multi={data.multi}", "--methods",
        "untouched,random,lingraft", "--budgets", "0,10m", "--tasks", "xnli,las,retrieval,bits,supervised", "--seeds",
        "0,1", "--graft-seeds", "5",
    )  # fmt: skip
    found = named(cells)
    assert len(found) == len(cells)
    everywhere = {each[2] for each in found if each[:2] == ("small", "hi") and each[3] == "xnli"}
    assert everywhere == {"untouched", "random", "lingraft", "lingraft, 10m"}
    assert {each[2:] for each in found if each[:2] == ("small", "en")} == {
        ("untouched", task, seed) for task in ("xnli", "las") for seed in (0, 1)
    }
    assert {each[2] for each in found if each[0] == "multi"} == {"untouched"}
    assert {each[3] for each in found if each[0] == "dec"} == {"bits"}
    assert ("dec", "hi", "untouched, 10m", "bits", 5) in found
    assert {each[1] for each in found if each[3] == "supervised"} == {"vi"}
    assert {each[4] for each in found if each[3] == "retrieval"} == {5}


def test_methods_start_from_what_they_need(board, data):
    run = Fake(board)
    filled(board, data, run, "--languages", "hi", "--tasks", "retrieval", "--peer-budgets", "0,steps=5")
    inits = {run.option(each, "--method"): each for each in run.commands if each[1] == "init"}
    assert set(inits) == {"random", "mean", "ramen", "wechsel", "focus"}
    assert run.option(inits["ramen"], "--bitext").endswith("parallel/en-hi.tsv")
    assert run.option(inits["wechsel"], "--vectors").count(".vec") == 2
    assert run.option(inits["wechsel"], "--lexicon").endswith("dictionaries/en-hi.tsv")
    assert run.option(inits["focus"], "--text").endswith("hi-8.txt")
    grafts = [each for each in run.commands if each[1] == "transfer"]
    assert len(grafts) == 1
    tokenizer = str(Path(run.option(grafts[0], "--out")) / "target")
    assert {each[3] for each in inits.values()} == {tokenizer}
    started = [each for each in run.commands if "train" in each]
    assert len(started) == 5
    assert {run.option(each, "--tokenizer") for each in started} == {tokenizer}
    assert {run.option(each, "--start") for each in started} == {run.option(each, "--out") for each in inits.values()}
    # a finished run keeps what is needed: the English model is the source's
    assert not (Path(run.option(grafts[0], "--out")) / "source").exists()


def test_a_parser_is_swapped_and_then_learns_from_the_bitext(board, data):
    run = Fake(board, {"projected-0": 30, "multi": 24})
    report = filled(
        board, data, run, "--baselines", f"multi={data.multi}", "--methods", "untouched,lingraft", "--budgets",
        "steps=5", "--tasks", "las,projected", "--projected-sentences", "70", "--adapt-set", "small:epochs=2",
        "--adapt-set", "multi:epochs=3",
    )  # fmt: skip
    adapts = [each for each in run.commands if each[1] == "adapt"]
    assert [run.option(each, "--language") for each in adapts] == ["hi", "vi"]  # not English, not the baseline
    english = {run.option(each, "--out") for each in run.commands if each[1] == "finetune"}
    for each in adapts:
        (swapped,) = (
            other for other in run.commands
            if other[1] == "swap" and run.option(other, "--out") == run.option(each, "--model")
        )  # fmt: skip
        assert run.option(each, "--teacher") == run.option(swapped, "--task-model") in english
        assert run.option(each, "--bitext").endswith(f"parallel/en-{run.option(each, '--language')}.tsv")
        assert (run.option(each, "--sentences"), run.option(each, "--set")) == ("70", "epochs=2")
    table = report.text().partition("small against multi, UD, LAS after `lingraft adapt parse`")[2].partition("###")[0]
    assert "| multi | 60.0 [" in table
    assert "| small, lingraft, steps=5 | 75.0 [" in table
    assert "| above multi in 2, points | +15.0 [" in table


def test_what_is_done_is_not_done_again_and_a_setting_redoes_only_what_depends_on_it(board, data):
    options = ("--methods", "untouched,lingraft", "--nli-pairs", "3")
    first = Fake(board)
    filled(board, data, first, *options)
    assert first.commands
    again = Fake(board)
    filled(board, data, again, *options)
    assert again.commands == []
    changed = Fake(board)
    filled(board, data, changed, "--methods", "untouched,lingraft", "--nli-pairs", "4")
    assert {"head", "nli"} == {
        word for each in changed.commands for word in ("head", "nli", "transfer", "parse") if word in each
    }


def test_a_record_says_how_it_was_made_and_not_where(board, data):
    store, cells, _, _ = planned(board, data, Fake(board), "--methods", "lingraft", "--tasks", "xnli")
    board.main.fill(cells, store)
    record = store.record(cells[-1].unit)
    assert record["seconds"] == {"wall": 2.0, "cpu": 3.0}
    assert {"python", "torch", "lingraft"} <= set(record["versions"])
    assert {"host", "cores", "threads"} <= set(record["machine"])
    assert record["command"][2:4] == ["score", "nli"]
    assert str(data.lab) not in json.dumps(record["key"])


@pytest.mark.parametrize("stop", [1, 3, 6])
def test_a_killed_board_goes_on_where_it_was(board, data, stop):
    options = ("--methods", "untouched,random,lingraft", "--tasks", "xnli,retrieval")
    whole = Fake(board)
    killed = Fake(board, stop=stop)
    store, cells, _, _ = planned(board, data, killed, *options)
    with pytest.raises(KeyboardInterrupt):
        board.main.fill(cells, store)
    rest = Fake(board)
    filled(board, data, rest, *options)
    data.out = data.out.with_name("whole")
    filled(board, data, whole, *options)
    assert len(killed.commands) - 1 + len(rest.commands) == len(whole.commands)


def test_a_task_model_that_was_finished_after_the_kill_is_taken(board, data):
    store, cells, _, _ = planned(board, data, Fake(board), "--methods", "untouched", "--tasks", "xnli")
    unit = next(iter(cells[0].unit.needs()))
    model(unit.folder)
    half = unit.folder.with_name(f".aside-999999-{unit.folder.name}")
    model(half)
    run = Fake(board)
    store = board.store.Store(data.out, run)
    assert store.bring(unit)["seconds"] == {"wall": None, "cpu": None}
    assert not any("finetune" in each for each in run.commands)
    assert not half.exists()


def test_a_failure_is_told_once_and_the_rest_is_done(board, data, capsys):
    bad = model(data.small.with_name("bad"))
    sources = f"bad={bad},small={data.small}"
    store, cells, _, _ = planned(
        board, data, Fake(board), "--sources", sources, "--methods", "lingraft", "--tasks", "las"
    )
    failed = board.main.fill(cells, store)
    assert len(failed) == 3  # the English task model and the graft of each language
    assert all("what is wrong" in each for each in failed)
    assert capsys.readouterr().err.count("ended with status 2") == 3
    assert all(store.record(cell.unit) for cell in cells if cell.source == "small")
    assert not any(store.record(cell.unit) for cell in cells if cell.source == "bad")


def test_two_at_work_in_one_folder_never_do_the_same(board, data):
    options = ("--methods", "untouched,random,mean,lingraft", "--tasks", "xnli,las,retrieval")
    runs = [Fake(board), Fake(board)]
    boards = [planned(board, data, run, *options) for run in runs]
    workers = [threading.Thread(target=board.main.fill, args=(each[1], each[0], 0.001)) for each in boards]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    done = [json.dumps(command) for run in runs for command in run.commands]
    assert len(done) == len(set(done))
    assert all(boards[0][0].record(cell.unit) for cell in boards[0][1])


def test_a_lock_is_held_by_the_living_and_free_of_the_dead(board, data):
    store, cells, _, _ = planned(board, data, Fake(board), "--methods", "untouched", "--tasks", "retrieval")
    unit = cells[0].unit
    path = data.out / "locks" / unit.title
    path.parent.mkdir(parents=True)
    path.write_text("process 999999 of elsewhere", encoding="utf-8")
    with path.open("a", encoding="utf-8") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(board.store.BusyError, match="process 999999"):
            store.bring(unit)
    assert store.bring(unit)["unit"] == unit.name


def test_a_child_that_outlives_the_board_keeps_the_lock(tmp_path):
    path = tmp_path / "lock"
    code = "import sys; sys.stdin.read()"
    with path.open("a", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        child = subprocess.Popen([sys.executable, "-S", "-c", code], stdin=subprocess.PIPE, pass_fds=(lock.fileno(),))
    with path.open("a", encoding="utf-8") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        child.communicate(b"")
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_process_is_timed_and_its_error_kept(board, tmp_path, monkeypatch):
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    run = board.store.run_process(3)
    log = tmp_path / "log"
    with (tmp_path / "lock").open("a", encoding="utf-8") as lock:
        told = "import os, sys; print(os.environ['OMP_NUM_THREADS']); sys.stderr.write('note')"
        ran = run([sys.executable, "-S", "-c", told], log, lock)
        assert (ran.stdout.strip(), log.read_text(encoding="utf-8")) == ("3", "note")
        assert ran.wall > 0
        with pytest.raises(subprocess.CalledProcessError):
            run([sys.executable, "-S", "-c", "raise SystemExit(2)"], log, lock)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of forking beside threads, Python 3.12
def test_a_step_is_a_process_and_its_error_a_line(board, tmp_path):
    examples, out, log = tmp_path / "all.tsv", tmp_path / "some.tsv", tmp_path / "log"
    examples.write_text("premise\none\ntwo\nthree\n", encoding="utf-8")
    run = board.store.run_process()
    step = [sys.executable, str(board.store.STEPS)]
    with (tmp_path / "lock").open("a", encoding="utf-8") as lock:
        ran = run([*step, "head", str(examples), "--examples", "2", "--out", str(out)], log, lock)
        assert json.loads(ran.stdout) == {"examples": 2}
        assert out.read_text(encoding="utf-8") == "premise\none\ntwo\n"
        missing = [
            *step,
            "vectors",
            str(tmp_path / "no-model"),
            "--text",
            str(examples),
            "--out",
            str(tmp_path / "v.vec"),
        ]
        with pytest.raises(subprocess.CalledProcessError):
            run(missing, log, lock)
    assert "no-model" in log.read_text(encoding="utf-8").strip().splitlines()[-1]


def test_where_training_moved_the_english_model_its_task_model_is_that_runs(board, data):
    run = Fake(board, moved="lingraft-10m")
    filled(board, data, run, "--methods", "lingraft", "--budgets", "0,10m", "--tasks", "xnli", "--languages", "hi")
    models = {run.option(each, "--model"): run.option(each, "--out") for each in run.commands if each[1] == "finetune"}
    assert len(models) == 2
    moved = next(name for name in models if name != str(data.small))
    assert "lingraft-10m" in moved
    assert moved.endswith("/source")
    scored = next(each for each in run.commands if "score" in each and "lingraft-10m" in " ".join(each))
    assert run.option(scored, "--model") == models[moved]
    assert run.option(scored, "--source-model") == moved


def test_settings_of_one_model_are_not_those_of_another(board, data):
    other = model(data.small.with_name("large"))
    run = Fake(board)
    sources = f"small={data.small},large={other}"
    options = ("--methods", "untouched", "--tasks", "xnli", "--nli-set", "large:learning_rate=5e-5")
    filled(board, data, run, "--sources", sources, *options)
    sets = {run.option(each, "--model"): " ".join(each) for each in run.commands if each[1] == "finetune"}
    assert "--set learning_rate=5e-5" in sets[str(other)]
    assert "5e-5" not in sets[str(data.small)]


def test_recipes_are_rows(board, data, tmp_path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("training:\n  steps: 3\n", encoding="utf-8")
    run = Fake(board)
    report = filled(board, data, run, "--methods", "untouched", "--recipes", f"mine={recipe}", "--tasks", "retrieval")
    assert {run.option(each, "--recipe") for each in run.commands if each[1] == "transfer"} == {str(recipe)}
    assert "small, mine" in report.text()


def test_shards_share_out_all_cells(board, data):
    _, cells, _, _ = planned(board, data, None, "--baselines", f"multi={data.multi}")
    parts = [board.main.taken(cells, (part, 3)) for part in (1, 2, 3)]
    assert sum(map(len, parts)) == len(cells)
    assert set().union(*map(named, parts)) == named(cells)
    assert all(parts)


def test_a_dry_run_lists_what_is_there_and_how_long_the_rest_takes(board, data):
    options = ("--methods", "untouched,lingraft", "--tasks", "xnli")
    store, cells, axes, _ = planned(board, data, Fake(board), *options)
    assert f"{len(cells)} cells, 0 cached" in board.main.Estimate(store).show(cells)
    assert "never timed" in board.main.Estimate(store).show(cells)
    board.main.fill(cells, store)
    more = list(board.plan.Plan(axes, store).cells())
    _, more, _, _ = planned(board, data, None, *options, "--seeds", "0,1")
    told = board.main.Estimate(store).show(more)
    # one task model and a score for English and each of two languages, grafted and not, at 2 seconds each
    assert told.endswith("10 cells, 5 cached; to do: 6 steps (finetune small nli, score small xnli), 12 s")


def test_tables(board, data):
    right = {"lingraft-steps-5": 32, "lingraft-0": 30, "random-0": 12, "mean-0": 29, "multi": 24}
    run = Fake(board, right)
    options = ("--baselines", f"multi={data.multi}", "--methods", "untouched,random,mean,lingraft", "--budgets",
               "0,steps=5", "--tasks", "xnli,retrieval,supervised")  # fmt: skip
    text = filled(board, data, run, *options).text()
    informed = text.partition("informed against random rows, XNLI")[2].partition("###")[0]
    lines = [line for line in informed.splitlines() if line.startswith("| ")]
    assert [line.split("|")[1].strip() for line in lines] == ["", "lingraft", "random", "gap, points"]
    assert "| lingraft | 75.0 [" in informed
    assert "| gap, points | +45.0 [+" in informed
    methods = text.partition("all methods without training, XNLI")[2].partition("###")[0]
    assert "(2*)" in next(line for line in methods.splitlines() if line.startswith("| mean |"))
    assert "(3)" in next(line for line in methods.splitlines() if line.startswith("| random |"))
    against = text.partition("small against multi, XNLI")[2].partition("###")[0]
    assert "| multi | 60.0 [" in against
    assert "| above multi in 2, points | +15.0 [" in against
    assert "| above multi in 2, points | +20.0 [" in against
    assert "| hi, lingraft | 7 | 99 | 50.00 | 25.0 | 1.50 | 0.333 | 75.0 |" in text
    assert "### Supervised parsing" in text
    assert "Seeds that are there: xnli: 0; retrieval: 0; supervised: 0." in text


def test_the_mean_of_languages_counts_each_the_same(board):
    import numpy as np

    one = board.report.Score(np.array([[8.0, 8.0]]), np.array([10.0, 10.0]))
    other = board.report.Score(np.array([[1.0], [3.0]]), np.array([10.0]))
    mean = board.report.mean_of([one, other])
    assert mean.seeds == 1
    assert mean.value == pytest.approx((0.8 + 0.1) / 2)
    assert other.value == pytest.approx(0.2)
    difference = board.report.mean_of([one, one]).minus(board.report.mean_of([one, one]))
    assert (difference.value, tuple(difference.interval)) == (0.0, (0.0, 0.0))


def test_word_order(board, tmp_path):
    from lab import other_side

    def treebank(name, *words):
        lines = [f"{number}\tw\t_\t_\t_\t_\t{head}\t{relation}\t_\t_" for number, head, relation in words]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n\n", encoding="utf-8")
        return path

    english = treebank("en", (1, 2, "nsubj"), (2, 0, "root"), (3, 2, "obj"), (4, 2, "punct"))
    same = treebank("same", (1, 2, "nsubj:pass"), (2, 0, "root"), (3, 2, "obj"))
    verb_last = treebank("last", (1, 3, "nsubj"), (2, 3, "obj"), (3, 0, "root"), (4, 3, "punct"))
    assert other_side(english, same) == 0
    assert other_side(english, verb_last) == pytest.approx(1 / 2)


def test_bits_per_byte_and_tokens_a_word(board, data):
    text = filled(board, data, Fake(board), "--sources", f"dec={data.decoder}", "--methods", "untouched,lingraft",
                  "--budgets", "0,steps=5", "--tasks", "bits", "--languages", "hi").text()  # fmt: skip
    for row in ("untouched", "lingraft", "untouched, steps=5", "lingraft, steps=5"):
        assert f"| dec, {row} | 1.500 [1.400, 1.600] | 1.50 |" in text


@pytest.mark.parametrize(
    ("options", "told"),
    [(("--methods", "ours"), "'ours' is none of"), (("--tasks", "mnli"), "'mnli' is none of"),
     (("--shard", "3/2"), "I/N was expected"), (("--baselines", "e5"), "NAME=PLACE was expected")],
)  # fmt: skip
def test_a_wrong_command_line_is_refused(board, data, capsys, options, told):
    with pytest.raises(SystemExit) as ended:
        planned(board, data, None, *options)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err
