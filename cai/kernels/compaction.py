"""Keep only the tokens that count: prompts and padding cost no head FLOPs."""

from __future__ import annotations

import torch
from torch import Tensor


def scored_tokens(labels_BT: Tensor, *, ignore: int = -100) -> tuple[Tensor, Tensor]:
    """(row_index_N, targets_N), both int32, of the labels that count, for `token_logprobs(hidden.flatten(0, 1), ...)`.

    Label [b, t] is predicted by hidden row [b, t - 1], so column 0 never counts. Call it on CPU labels in the collator:
    there it costs no device synchronisation.
    """
    counts_BT = labels_BT[:, 1:] != ignore
    rows, columns = counts_BT.nonzero(as_tuple=True)
    row_index_N = rows * labels_BT.shape[1] + columns
    return row_index_N.to(torch.int32), labels_BT[:, 1:][counts_BT].to(torch.int32)
