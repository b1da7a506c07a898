"""New rows as mixtures of old ones, in bounded memory: a block of dimensions at a time, in double precision.

A block of dimensions, not of rows: every row of the table may point anywhere in the source, whose block then lies close
together, and mean and spread of a dimension are those of its block.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from ..machine import usable_cores

Array = np.ndarray[Any, Any]

#: dimensions at a time; those of a token are then 256 bytes
_BLOCK = 32


def mix(
    rows: Tensor,
    matrix: sparse.csr_matrix,
    known: Array,
    generator: np.random.Generator,
    centre: float | None = None,
    spread: float | None = None,
    balance: float = 0.0,
) -> Tensor:
    """A E for known rows, draws from a normal for the others.

    rows: E, float (V_source or more, width), or (V_source or more,) for a bias; those beyond the matrix's columns take
    no part. matrix: A, CSR (V_target, V_source). known: bool (V_target,). centre, spread: mean and standard deviation
    of the normal; None stands for those of the source's rows in each dimension. A bias is never drawn: it is the
    centre. balance: from 0 to 1; a mixture of several rows has the norm r^(1 - balance) n^balance, with r the norm it
    would have and n the mean norm of the rows that the table draws on. Returns the same dtype and device with V_target
    rows, each entry summed in double precision and rounded once.

    What is drawn for a row depends on the generator and the shape alone, not on which rows are known, nor on the
    number of threads. Beside the result, memory holds per core (V_source + 2 V_target) * 32 numbers of 8 bytes.
    """
    columns = matrix.shape[1]
    source = rows.detach().reshape(rows.shape[0], -1)[:columns]
    width = source.shape[1]
    with torch.inference_mode(False):  # which is a thread's own affair, and several fill it
        result = torch.empty((matrix.shape[0], width), dtype=rows.dtype)
    exact = sparse.csr_matrix(matrix, dtype=np.float64)
    others = ~known
    starts = range(0, width, _BLOCK)
    factors = _factors(source, exact, balance) if balance and rows.ndim > 1 else None

    def fill(start: int, own: np.random.Generator) -> None:
        part = slice(start, min(start + _BLOCK, width))
        block = source[:, part].to("cpu", torch.float64).numpy()
        made = exact @ block
        if factors is not None:
            made *= factors[:, None]
        if others.any():
            middle: Any = block.mean(0) if centre is None else centre
            wide: Any = block.std(0) if spread is None else spread
            if rows.ndim == 1:
                made[others] = middle
            else:
                drawn = own.standard_normal(made.shape, dtype=np.float32)  # of all, to depend on none
                made[others] = middle + wide * drawn[others]
        result[:, part] = torch.from_numpy(made).to(rows.dtype)

    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(fill, starts, generator.spawn(len(starts))))
    return result.reshape(matrix.shape[0], *rows.shape[1:]).to(rows.device)


def _factors(source: Tensor, table: sparse.csr_matrix, balance: float) -> Array:
    """What makes of each mixture one of the norm it is to have, float64 (V_target,); 1 for copies and empty rows."""
    width = source.shape[1]
    starts = range(0, width, _BLOCK)

    def squares(start: int) -> tuple[Array, Array]:
        block = source[:, start : start + _BLOCK].to("cpu", torch.float64).numpy()
        return (block**2).sum(1), ((table @ block) ** 2).sum(1)

    old, new = np.zeros(table.shape[1]), np.zeros(table.shape[0])
    with ThreadPoolExecutor(usable_cores()) as pool:
        for of_old, of_new in pool.map(squares, starts):  # in the order of the blocks: no thread changes a sum
            old += of_old
            new += of_new
    drawn_on = np.unique(table.indices)
    several = (np.diff(table.indptr) > 1) & (new > 0)
    goal = np.sqrt(old[drawn_on]).mean() if drawn_on.size else 1.0
    return np.where(several, (goal / np.sqrt(np.where(several, new, 1.0))) ** balance, 1.0)
