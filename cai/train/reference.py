"""Log-probs of the frozen reference, computed once into the run: training never holds a second model.

They are stored with what they depend on (model, tokens), so a resumed or repeated training reads them and a changed
one does not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from cai.store.files import replacing
from cai.train.batches import Attention
from cai.train.collate import Collator, model_inputs, sum_replies
from cai.train.processes import processes
from cai.train.tokens import Tokenised

FILE = "reference.safetensors"


def token_sha(items: Sequence[Tokenised]) -> str:
    """One hash over all prompts and replies as ids."""
    digest = hashlib.sha256()
    for item in items:
        for ids in (item.group.prompt, *item.group.replies):
            digest.update(len(ids).to_bytes(4, "little"))
            digest.update(b"".join(i.to_bytes(4, "little") for i in ids))
    return digest.hexdigest()


def read_reference(folder: Path, made_with: dict[str, str]) -> Tensor | None:
    """[examples, replies] log-probs of an earlier start of this training, or None where there are none for this."""
    file = folder / FILE
    if not file.is_file():
        return None
    with safe_open(file, "pt") as handle:
        if handle.metadata() != made_with:
            return None
        return handle.get_tensor("ref_BK")


def write_reference(folder: Path, ref_BK: Tensor, made_with: dict[str, str]) -> None:
    """In one step, so that a reader sees all of it or nothing."""
    path = folder / FILE
    scratch = folder / f".{FILE}.part"
    save_file({"ref_BK": ref_BK.contiguous()}, scratch, metadata=made_with)
    with replacing(path) as file:
        file.write(scratch.read_bytes())
    scratch.unlink()


@torch.no_grad()
def compute_reference(
    model: Any,
    items: Sequence[Tokenised],
    *,
    pad: int,
    share: Literal["auto", "always", "never"],
    attention: Attention,
    size: int,
    bf16: bool,
) -> Tensor:
    """[examples, replies] in float32, examples of like length together; each process does its part of them."""
    from accelerate.utils import gather_object

    state = processes()
    device = state.device or torch.device("cpu")
    model = model.to(device).eval()
    collate = Collator(items, pad, share, attention)
    order = sorted(range(len(items)), key=lambda i: items[i].longest)
    chunks = [order[i : i + size] for i in range(0, len(order), size)]
    found: list[tuple[int, list[float]]] = []
    for chunk in chunks[state.process_index :: state.num_processes]:
        batch = collate([{"index": i} for i in chunk])
        inputs = {k: v.to(device) for k, v in model_inputs(batch).items()}
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            logp_N = model(**inputs)["logp_N"]
        rows = sum_replies(logp_N, batch["cu_seqlens"].to(device)).view(len(chunk), -1).tolist()
        found += zip(chunk, rows, strict=True)
    if state.num_processes > 1:
        found = gather_object(found)
    table = dict(found)
    return torch.tensor([table[i] for i in range(len(items))], dtype=torch.float32)
