"""The training loops that ``training.py`` compares, and the process in which one of them runs.

    python training_methods.py JOB.json REPORT.json

A job is one method on one shape. Every loop is made to run far longer than it is measured, as a real run does; a hook
behind the optimizer step, the same for all of them, takes the time from the end of the warm-up on and ends the run.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import json
import math
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_post_hook
from training_shapes import LENGTH, MASKED, SHAPES, VOCABULARY

#: steps that a loop believes it will run
_LONG = 100_000

#: running text of a language is repeated after so many words
_MOST_WORDS = 1_000_000

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_PAD, _UNK, _CLS, _SEP, _MASK = range(len(_SPECIAL))


@dataclass(frozen=True)
class Job:
    """One method on one shape.

    loop: a name in LOOPS. settings: switches of the loop. batch_size: sequences a language and step. warmup: steps
    before the clock runs, steps: those it times. text: a file each of English and of the other language, or nothing for
    random words. folder: for whatever the loop writes.
    """

    loop: str
    settings: dict[str, Any]
    shape: str
    batch_size: int
    warmup: int
    steps: int
    threads: int | None
    seed: int
    text: list[str] | None
    folder: str

    @property
    def tokens(self) -> int:
        """Tokens of a step, both languages together."""
        return 2 * self.batch_size * LENGTH

    @functools.cached_property
    def device(self) -> torch.device:
        """The CUDA card where there is one."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")


# -------------------- data


def lines(job: Job, language: int) -> list[str]:
    """Running text of one language: the head of the file that was named, or random words, some far more frequent."""
    if job.text:
        found, words = [], 0
        with Path(job.text[language]).open(encoding="utf-8") as file:
            for line in file:
                found.append(line.strip())
                words += len(line.split())
                if words >= _MOST_WORDS:
                    break
        return found
    wanted = min(_MOST_WORDS, (job.warmup + job.steps + 1) * job.tokens)
    source = np.random.default_rng([job.seed, language])
    ranks = (VOCABULARY - len(_SPECIAL)) ** source.random(max(wanted, 4096))  # density falls as 1 / rank
    words_of_text = [f"{'ex'[language]}{int(rank)}" for rank in ranks]
    return [" ".join(words_of_text[k : k + 25]) for k in range(0, len(words_of_text), 25)]


def stand_in_tokenizer(text: list[str]) -> Any:
    """A tokenizer of VOCABULARY tokens: the most frequent words of the text, and others that never occur."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    room = VOCABULARY - len(_SPECIAL)
    frequent = [word for word, _ in Counter(word for line in text for word in line.split()).most_common(room)]
    unused = [f"[unused {k}]" for k in range(room - len(frequent))]
    vocabulary = {word: index for index, word in enumerate((*_SPECIAL, *frequent, *unused))}
    assert len(vocabulary) == VOCABULARY
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", _CLS), ("[SEP]", _SEP)]
    )
    roles = {f"{name.strip('[]').lower()}_token": name for name in _SPECIAL}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **roles)


def stream(tokenizer: Any, text: list[str], opened: bool) -> np.ndarray[Any, Any]:
    """Token ids of the text, each line closed by [SEP] and, if wanted, opened by [CLS]."""
    rows = tokenizer(text, add_special_tokens=False)["input_ids"]
    opening = [_CLS] if opened else []
    return np.concatenate([np.asarray([*opening, *row, _SEP], np.int64) for row in rows])


def new_model(job: Job, dropout: float = 0.1) -> Any:
    """A BERT of the job's shape with random weights and transformers' own defaults."""
    from transformers import BertConfig, BertForMaskedLM

    shape = SHAPES[job.shape]
    torch.manual_seed(job.seed)
    return BertForMaskedLM(
        BertConfig(
            vocab_size=VOCABULARY, hidden_size=shape.width, num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads, intermediate_size=shape.feed_forward,
            hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
        )
    )  # fmt: skip


# -------------------- the clock


class Finished(BaseException):
    """Enough steps were timed. No Exception, so that no loop mistakes it for an error it should recover from."""


class Clock:
    """A hook behind every optimizer step."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._optimizer: Any = None
        self._step = 0
        self._began = (0.0, 0.0)
        self.result: dict[str, Any] = {}

    def __call__(self, optimizer: Any, *_: Any) -> None:
        """Counts the steps of the first optimizer it sees, should a loop have several."""
        self._optimizer = self._optimizer or optimizer
        if optimizer is not self._optimizer:
            return
        self._step += 1
        if self._step == self._job.warmup:
            self._began = self._now()
        elif self._step == self._job.warmup + self._job.steps:
            wall, cpu = (end - start for start, end in zip(self._began, self._now(), strict=True))
            self.result |= {"seconds": wall, "cpu_seconds": cpu, "tokens": self._job.steps * self._job.tokens}
            raise Finished

    def _now(self) -> tuple[float, float]:
        """Seconds on the wall and of the processor, once the device has done what it was given."""
        if self._job.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()


# -------------------- the loops: each returns the precision of its matrix products, or is ended by the clock


def run_mlm(job: Job, say: Callable[[str], None]) -> None:
    """What transformers' run_mlm.py does: its Trainer and collator, one model with one vocabulary for all text.

    settings: bf16. Lines stand one after the other with their special tokens and are cut into blocks, as run_mlm.py
    cuts them. Only checkpoints and the progress bar are switched off.
    """
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

    text = lines(job, 0) + lines(job, 1)
    random.Random(job.seed).shuffle(text)
    tokenizer = stand_in_tokenizer(text)
    ids = stream(tokenizer, text, opened=True)
    blocks = ids[: ids.size // LENGTH * LENGTH].reshape(-1, LENGTH)
    rows = [
        {"input_ids": block.tolist(), "attention_mask": [1] * LENGTH, "token_type_ids": [0] * LENGTH,
         "special_tokens_mask": np.isin(block, (_CLS, _SEP)).astype(int).tolist()}
        for block in blocks
    ]  # fmt: skip
    bf16 = bool(job.settings.get("bf16"))
    say("bf16" if bf16 else "float32")
    arguments = TrainingArguments(
        output_dir=job.folder, per_device_train_batch_size=2 * job.batch_size, max_steps=_LONG, bf16=bf16,
        use_cpu=job.device.type == "cpu", seed=job.seed, save_strategy="no", report_to="none", disable_tqdm=True,
    )  # fmt: skip
    collator = DataCollatorForLanguageModeling(tokenizer=tokenizer, mlm_probability=MASKED)
    Trainer(model=new_model(job), args=arguments, data_collator=collator, train_dataset=rows).train()  # type: ignore[arg-type]


def masked(blocks: Tensor, rate: float) -> tuple[Tensor, Tensor, Tensor]:
    """Changed ids, flat positions and true tokens: nine in ten become the mask token, one in ten stays as it is.

    The published masks. The first position of a block is never predicted; the number of positions is a multiple of 8.
    """
    wanted = math.ceil(blocks.numel() * rate) // 8 * 8
    ordinary = np.flatnonzero(np.arange(blocks.numel()) % blocks.shape[1])
    chosen = np.random.choice(ordinary, wanted, replace=False)
    changed = blocks.flatten().clone()
    true = changed[chosen]
    changed[chosen[wanted // 10 :]] = _MASK
    return changed.view_as(blocks), torch.from_numpy(chosen), true


def batches(job: Job, ids: np.ndarray[Any, Any]) -> Iterator[Tensor]:
    """Blocks that open with [CLS], (batch_size, LENGTH), in random order, over and over."""
    body = LENGTH - 1
    n_blocks = max(ids.size // body, job.batch_size)
    blocks = torch.from_numpy(np.resize(ids, (n_blocks, body)))
    blocks = torch.cat([torch.full((n_blocks, 1), _CLS), blocks], 1)
    while True:
        for chosen in torch.randperm(n_blocks)[: n_blocks // job.batch_size * job.batch_size].split(job.batch_size):
            yield blocks[chosen]


def plain(job: Job, say: Callable[[str], None]) -> None:
    """The published loop (Tran 2020), re-created: a pass a language, two models around one encoder, plain PyTorch.

    Of a step: English forward and backward, the other language forward and backward, the norm of the gradient clipped
    at 5, Adam with an inverse square root schedule. Masks are drawn on the host, both losses are read every step. Its
    logits exist at the masked positions alone (settings: gathered), its dropout is 0.1 (dropout). It ran in fp16
    through apex (O2); here precision mixed is torch's autocast, in fp16 with a scaled loss on a CUDA card and in bf16
    on a processor. The published loader has four processes of its own, which do little; here batches are made in line.

    Further settings, which the published loop has not: fused, compile, and precision bf16.
    """
    settings: dict[str, Any] = {
        "gathered": True,
        "dropout": 0.1,
        "precision": "float32",
        "fused": False,
        "compile": False,
    }
    assert settings.keys() >= job.settings.keys()
    settings |= job.settings
    np.random.seed(job.seed)
    source, target = (new_model(job, settings["dropout"]) for _ in range(2))
    target.bert.encoder = source.bert.encoder
    for name in ("position_embeddings", "token_type_embeddings", "LayerNorm"):
        setattr(target.bert.embeddings, name, getattr(source.bert.embeddings, name))
    target.cls.predictions.transform = source.cls.predictions.transform
    both = torch.nn.ModuleList([source, target]).to(job.device).train()

    kind = job.device.type
    half = torch.float16 if settings["precision"] == "mixed" and kind == "cuda" else torch.bfloat16
    reduced = settings["precision"] != "float32"
    say(("fp16" if half == torch.float16 else "bf16") if reduced else "float32")
    scaler = torch.amp.GradScaler(kind, init_scale=1024, enabled=reduced and half == torch.float16)
    fused = True if settings["fused"] else None
    optimizer = torch.optim.Adam(both.parameters(), lr=1e-4, fused=fused)
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda n: min((n + 1) / 4000, math.sqrt(4000 / (n + 1))))

    def loss_of(model: Any, ids: Tensor, positions: Tensor, true: Tensor) -> Tensor:
        if settings["gathered"]:
            hidden = model.bert(input_ids=ids).last_hidden_state.flatten(0, 1)[positions]
            return F.cross_entropy(model.cls(hidden).float(), true)
        labels = torch.full_like(ids, -100).flatten().index_copy(0, positions, true)
        return F.cross_entropy(model(input_ids=ids).logits.float().flatten(0, 1), labels)

    if settings["compile"]:
        loss_of = torch.compile(loss_of)
    sources = []
    for language in range(2):
        text = lines(job, language)
        sources.append(batches(job, stream(stand_in_tokenizer(text), text, opened=False)))
    while True:
        for model, source_of_blocks in zip(both, sources, strict=True):
            inputs = [tensor.to(job.device) for tensor in masked(next(source_of_blocks), MASKED)]
            with torch.autocast(kind, half, enabled=reduced):
                loss = loss_of(model, *inputs)
            scaler.scale(loss).backward()
            float(loss.detach())
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(both.parameters(), 5.0)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        rates.step()


def lingraft(job: Job, say: Callable[[str], None]) -> None:
    """lingraft's trainer in the stage that trains everything: both languages take part, all parameters move.

    settings: precision, as in a recipe; what else there is are switches of the objective, which are set to other values
    than their defaults. All that this benchmark knows of lingraft is in this function.
    """
    from lingraft.evidence import encode
    from lingraft.recipe import TrainingRecipe
    from lingraft.surgery import from_transformers
    from lingraft.training import language_model_trainer, resolve_training, text_stream

    of_recipe = {name: value for name, value in job.settings.items() if name == "precision"}
    switches = {name: value for name, value in job.settings.items() if name != "precision"}
    build: Any = importlib.import_module("lingraft.training.build")
    if not inspect.signature(build.LanguageModelling).parameters.keys() >= switches.keys():
        sys.exit(f"this version of lingraft has no switch {', '.join(switches)}")
    build.LanguageModelling = functools.partial(build.LanguageModelling, **switches)
    english, foreign = (lines(job, language) for language in range(2))
    source, target = (from_transformers(new_model(job), stand_in_tokenizer(text)) for text in (english, foreign))
    recipe = resolve_training(
        TrainingRecipe(
            objective="mlm", steps=_LONG, batch_size=job.batch_size, sequence_length=LENGTH, mask_rate=MASKED,
            embeddings_share=0.0, checkpoint_seconds=86_400.0, **of_recipe,
        ), "masked",
    )  # fmt: skip
    say(recipe.precision)
    streams = [
        text_stream(model, encode(model.tokenizer, list(text)))
        for model, text in ((source, english), (target, foreign))
    ]
    language_model_trainer(source, target, *streams, recipe, job.seed, Path(job.folder)).run()


LOOPS = {"run_mlm": run_mlm, "plain": plain, "lingraft": lingraft}


# -------------------- the machine's own rate


def matrix_rate(device: torch.device, dtype: torch.dtype) -> tuple[int, float]:
    """The side of a cube of matrices and the best rate of their product, in operations a second."""
    cuda = device.type == "cuda"
    side = 8192 if cuda else 2048
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    turns, products = (10, 10) if cuda else (12, 1)
    best, began = math.inf, time.perf_counter()
    for turn in range(turns):
        start = time.perf_counter()
        for _ in range(products):
            torch.mm(left, right)
        if cuda:
            torch.cuda.synchronize()
        if turn:  # the first one warms up
            best = min(best, (time.perf_counter() - start) / products)
            if time.perf_counter() - began > 4:
                break
    return side, 2 * side**3 / best


def matrix_rates(job: Job) -> dict[str, Any]:
    """Rates by precision; what the machine is."""
    rates: dict[str, Any] = {}
    types = {"float32": torch.float32, "bf16": torch.bfloat16}
    if job.device.type == "cuda":
        types["fp16"] = torch.float16
    for name, dtype in types.items():
        rates["side"], rates[name] = matrix_rate(job.device, dtype)
    return rates


def machine(job: Job) -> dict[str, Any]:
    """Device, threads and versions."""
    import transformers

    return {
        "device": job.device.type,
        "card": torch.cuda.get_device_name() if job.device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def main() -> None:
    """One job, in this process."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    if job.threads:
        torch.set_num_threads(job.threads)
    clock = Clock(job)
    if job.loop == "matrix":
        clock.result = {"rates": matrix_rates(job), **machine(job)}
    else:
        register_optimizer_step_post_hook(clock)
        with contextlib.suppress(Finished):
            LOOPS[job.loop](job, lambda precision: clock.result.update(precision=precision))
        if "seconds" not in clock.result:
            sys.exit("the loop ended before enough steps were timed")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        clock.result["peak_mb"] = peak / 1e6
        if job.device.type == "cuda":
            clock.result["device_peak_mb"] = torch.cuda.max_memory_allocated() / 1e6
    Path(sys.argv[2]).write_text(json.dumps(clock.result), encoding="utf-8")
    sys.stdout.flush()
    os._exit(0)  # whatever a loop still has running


if __name__ == "__main__":
    main()
