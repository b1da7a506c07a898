"""What a user without lingraft finds: model folders in a process that cannot import it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path


def assert_loads_without_lingraft(kinds: Mapping[Path, str], cwd: Path) -> None:
    """Loads folders with plain transformers or sentence-transformers and runs them on a text.

    kinds: of each folder's model: masked, causal, or sentence (32 wide).
    """
    program = f"""
import sys
sys.modules["lingraft"] = None
import torch
from sentence_transformers import SentenceTransformer
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer
for folder, kind in { ({str(folder): kind for folder, kind in kinds.items()})!r}.items():
    tokenizer = AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer("dàno mù", return_tensors="pt")
    head = {{"masked": AutoModelForMaskedLM, "causal": AutoModelForCausalLM, "sentence": None}}[kind]
    if head:
        logits = head.from_pretrained(folder)(**inputs).logits
        assert logits.shape == (1, inputs["input_ids"].shape[1], len(tokenizer)), (folder, logits.shape)
        assert torch.isfinite(logits).all()
    else:
        vector = SentenceTransformer(folder, device="cpu").encode(["dàno mù"])
        assert vector.shape == (1, 32) and abs((vector**2).sum() - 1) < 1e-5
    assert torch.isfinite(AutoModel.from_pretrained(folder)(**inputs).last_hidden_state).all()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
