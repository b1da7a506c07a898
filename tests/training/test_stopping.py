from __future__ import annotations

import os
import shlex
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import toy
from lingraft.errors import StoppedError
from lingraft.training.distillation import Distillation
from lingraft.training.stopping import StopSignals
from toy import ToyObjective, same


@pytest.fixture(autouse=True)
def _interruptible() -> Iterator[None]:
    """SIGINT as Python sets it up, also where the suite itself was started with it ignored (in the background)."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_run_behind_its_step_with_everything_saved(tmp_path: Path, number: signal.Signals):
    whole, stopped, resumed = ToyObjective(), ToyObjective(), ToyObjective()
    toy.trainer(whole, tmp_path / "whole").run()
    before = [signal.getsignal(known) for known in (signal.SIGTERM, signal.SIGINT)]
    seen: list[int] = []

    def send(step: int, *_: int) -> None:
        seen.append(step)
        if step == 17:
            os.kill(os.getpid(), number)

    stopped.before = send
    with pytest.raises(StoppedError, match=rf"Stopped by {number.name} after step 18 of 30") as caught:
        toy.trainer(stopped, tmp_path / "stopped", checkpoint_seconds=3600.0).run()
    assert caught.value.exit_status == 128 + number
    assert [signal.getsignal(known) for known in (signal.SIGTERM, signal.SIGINT)] == before
    assert seen[-1] == 17
    resumed.before = lambda step, *_: seen.append(step)
    toy.trainer(resumed, tmp_path / "stopped").run()
    assert seen == list(range(30))
    assert same(whole.weights(), resumed.weights())


def test_a_signal_in_the_last_step_or_in_front_of_the_first_stops_the_run_too(tmp_path: Path):
    for at, done in ((29, 30), (-1, 0)):
        folder = tmp_path / str(at)

        def send(step: int, *_: int, at: int = at) -> None:
            if step == at:
                os.kill(os.getpid(), signal.SIGTERM)

        trainer = toy.trainer(ToyObjective(before=send), folder)
        planned = trainer._planned

        def plan(planned=planned, send=send):
            send(-1)
            return planned()

        trainer._planned = plan
        with pytest.raises(StoppedError, match=f"after step {done} of 30"):
            trainer.run()
        whole, resumed = ToyObjective(), ToyObjective()
        toy.trainer(whole, tmp_path / f"whole{at}").run()
        toy.trainer(resumed, folder).run()
        assert same(whole.weights(), resumed.weights())


def test_the_second_ctrl_c_interrupts_at_once():
    with StopSignals() as signals:
        for _ in range(2):  # said twice by a scheduler, it is no more urgent
            os.kill(os.getpid(), signal.SIGTERM)
            assert signals.received == signal.SIGTERM
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as signals:
            os.kill(os.getpid(), signal.SIGINT)
        assert signals.received is None
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_of_the_main_thread_no_handler_is_set(tmp_path: Path):
    before = signal.getsignal(signal.SIGTERM)
    seen = []
    objective = ToyObjective(before=lambda *_: seen.append(signal.getsignal(signal.SIGTERM)))
    thread = threading.Thread(target=toy.trainer(objective, tmp_path).run)
    thread.start()
    thread.join()
    assert set(seen) == {before}
    assert len(seen) == 30


def test_the_command_exits_as_a_shell_expects_and_is_resumed_by_the_line_it_prints(
    tmp_path: Path, sentence_model_folder: Path, bitext_file: Path, command, monkeypatch: pytest.MonkeyPatch
):
    options = ["--to", "fr", "--bitext", bitext_file, "--steps", 6, "--set", "training.batch_size=4", "--quiet"]
    assert command("transfer", sentence_model_folder, *options, "--out", tmp_path / "whole")[0] == 0
    original = Distillation.loss

    def loss(self, step, *rest):
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(self, step, *rest)

    monkeypatch.setattr(Distillation, "loss", loss)
    out = tmp_path / "a run"
    status, _, err = command("transfer", sentence_model_folder, *options, "--out", out)
    assert status == 143
    line = "lingraft: Stopped by SIGTERM after step 3 of 6, with everything saved. Go on with: "
    assert err == f"{line}lingraft resume '{out}'\n"
    monkeypatch.undo()
    assert command(*shlex.split(err.removeprefix(line))[1:], "--quiet")[0] == 0
    weights = [(folder / "target" / "model.safetensors").read_bytes() for folder in (tmp_path / "whole", out)]
    assert weights[0] == weights[1]
