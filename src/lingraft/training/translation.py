"""Translation language modelling: a sentence and its translation side by side, tokens of both hidden (TLM)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from ..corpus import TokenSequences
from ..recipe import ONLY
from ..surgery import LanguageModel
from .attention import first_position
from .data import Array, LengthBatches, pad
from .encoder import embed_tokens, flop_forward, head_logits, hidden_states
from .language_modelling import special_tokens
from .loss import cross_entropy
from .masking import Masked, MaskScheme, generator_for, mask_tokens
from .timing import Stopwatch


class TranslationModelling:
    """An addition to ``mlm``: either side of a pair may be read to predict the other (Conneau & Lample 2019, 3.3).

    A row is the English sentence in its own vocabulary, then the foreign one in its own, both with their special tokens
    and with positions counted from their own beginning. Both sides' hidden tokens are predicted, each by its own head.

    name: of the new language, in ``tlm_NAME``. languages: how many new languages a run has, each with a bitext and an
    objective of its own; each then shows its part of ``tlm_en``, the mean over them.
    """

    def __init__(
        self, english: LanguageModel, foreign: LanguageModel, english_text: TokenSequences,
        foreign_text: TokenSequences, *, batch_size: int, mask_rate: float, seed: int, device: torch.device,
        mask_scheme: MaskScheme = "80-10-10", name: str = ONLY, languages: int = 1,
    ) -> None:  # fmt: skip
        self._names = {"en": "tlm_en", "xx": f"tlm_{name}"}
        self._languages = languages
        self._models = {"en": english, "xx": foreign}
        self._texts = {"en": english_text, "xx": foreign_text}
        self.module: nn.Module = nn.ModuleList([english.model, foreign.model])
        self._batches = LengthBatches(english_text.lengths + foreign_text.lengths, batch_size, seed)
        self._mask_rate = mask_rate
        self._mask_scheme = mask_scheme
        self._seed = seed
        self._device = device
        self._special = {
            side: torch.from_numpy(special_tokens(model)).to(device) for side, model in self._models.items()
        }
        #: time spent on making batches, for the meter
        self.waiting = Stopwatch()
        self._made: tuple[int, dict[str, tuple[Tensor, Masked]]] | None = None

    def _batch(self, step: int) -> dict[str, tuple[Tensor, Masked]]:
        """Attention mask and hidden tokens of both sides, each padded by itself; of the same step made once."""
        if self._made is None or self._made[0] != step:
            lines = self._batches[step]
            made = {}
            for number, (side, model) in enumerate(self._models.items()):
                with self.waiting:
                    padded = pad([self._texts[side][line] for line in lines], model.tokenizer.pad_token_id or 0)
                ids, mask = (torch.from_numpy(part).to(self._device, non_blocking=True) for part in padded)
                # a key of its own: the masks are others than those of running text at the same step
                generator = generator_for(self._device, self._seed, step, number, 1)
                mask_id = int(model.tokenizer.mask_token_id)
                masked = mask_tokens(ids, self._special[side], mask_id, self._mask_rate, generator, self._mask_scheme)
                made[side] = mask, masked
            self._made = step, made
        return self._made[1]

    def loss(self, step: int, both: bool, part: int = 0, parts: int = 1) -> tuple[Tensor, dict[str, Tensor]]:  # noqa: ARG002
        """See `Objective`. English takes part even where it does not train, for the foreign sentence beside it does."""
        batch = self._batch(step)
        size = self._batches[step].size
        start, stop = (size * k // parts for k in (part, part + 1))
        if start == stop:
            return torch.zeros((), device=self._device), {}
        mine = {side: (mask[start:stop], masked.rows(start, stop)) for side, (mask, masked) in batch.items()}
        hidden = self._hidden(mine)
        losses = {}
        for side, (_, masked) in mine.items():
            each = cross_entropy(head_logits(self._models[side].model, hidden[side]), masked.labels)
            losses[side] = (each * masked.weights).sum() / batch[side][1].weights.sum().clamp(min=1)
        shown = {self._names[side]: loss.detach() for side, loss in losses.items()}
        shown["tlm_en"] = shown["tlm_en"] / self._languages
        return torch.stack(list(losses.values())).sum(), shown

    def _hidden(self, batch: dict[str, tuple[Tensor, Masked]]) -> dict[str, Tensor]:
        """Last hidden states at the predicted positions of both sides, (rows, k, width)."""
        (english_mask, english), (foreign_mask, foreign) = batch["en"], batch["xx"]
        embedded = torch.cat(
            [embed_tokens(self._models[side].model, batch[side][1].ids) for side in ("en", "xx")], dim=1
        )
        widths = [english.ids.shape[1], foreign.ids.shape[1]]
        counted = torch.cat([torch.arange(width, device=self._device) for width in widths])
        hidden = hidden_states(
            self._models["xx"].model, embedded,
            torch.cat([english.positions, foreign.positions + widths[0]], dim=1),
            torch.cat([english_mask, foreign_mask], dim=1),
            position_ids=counted.unsqueeze(0) + first_position(self._models["xx"].model),
        )  # fmt: skip
        sides = hidden.split([english.positions.shape[1], foreign.positions.shape[1]], dim=1)
        return dict(zip(("en", "xx"), sides, strict=True))

    def at_once(self, step: int) -> int | None:  # noqa: ARG002
        """See `Objective`; the micro-batch is reckoned for sentences of full length."""
        return None

    def tokens(self, step: int, both: bool) -> int:  # noqa: ARG002
        """See `Objective`."""
        lines: Array = self._batches[step]
        return int(sum(text.lengths[lines].sum() for text in self._texts.values()))

    def flop(self, step: int, both: bool) -> float:
        """See `Objective`."""
        length = int(np.mean(self._texts["en"].lengths) + np.mean(self._texts["xx"].lengths))
        forward = flop_forward(self._models["xx"].model, length, self._mask_rate)
        return self.tokens(step, both) * (3 if both else 2) * forward
