"""One seeded training run over the corpus of trees: Muon for the matrices, AdamW for the rest, linear decay to zero."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from cai.seeds import seed_for
from cai.testbed.pretraining.corpus import trees
from cai.testbed.pretraining.muon import Muon
from cai.testbed.pretraining.probes import BITS, HEADS
from cai.testbed.pretraining.tokenizer import CONTEXT, END, PAD
from cai.testbed.pretraining.trees import Tree

_HEADS = tuple(HEADS)


@dataclass(frozen=True, slots=True)
class Plan:
    """What decides the weights, besides the code."""

    seed: int = 0
    steps: int = 3100
    processes: int = 2
    """Each computes its own batch on one thread and they average gradients: faster than threads, which wait for
    each other at every operation, above all on a shared machine."""
    batch_tokens: int = 3072
    """Most tree tokens, padding included, in one process's batch."""
    width: int = 192
    layers: int = 6
    muon_rate: float = 5e-3
    adam_rate: float = 2e-3
    warm_up: int = 60
    first_tree: int = 0
    """Where in the seed's endless corpus to begin: a continued training goes past its first part."""
    minutes: float = 0.0
    """For trials: let the rate decay with the clock and stop there. 0 counts steps, which is repeatable."""


@dataclass(frozen=True, slots=True)
class Batch:
    """B trees padded to T tokens, and N things to predict."""

    tokens_BT: Tensor
    positions_BT: Tensor
    mask_BTT: Tensor
    """True where a token may look."""
    places_N: Tensor
    """Index into the flattened B*T tokens after which something is to be predicted."""
    targets_N: Tensor
    weights_N: Tensor
    probes_M3: Tensor
    """Index into the flattened B*T tokens, head and label of M probes."""

    @property
    def weight(self) -> float:
        """What the loss is divided by: the weights of all it sums."""
        counts = torch.bincount(self.probes_M3[:, 1], minlength=len(HEADS)).tolist()
        asked = (count * place.weight for count, place in zip(counts, HEADS.values(), strict=True))
        return float(self.weights_N.sum()) + sum(asked)


def new_model(plan: Plan, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """An untrained Llama with heads of 32, tied embeddings."""
    torch.manual_seed(plan.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=plan.width,
        intermediate_size=plan.width * 8 // 3,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.width // 32,
        num_key_value_heads=plan.width // 32,
        head_dim=32,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.get_vocab()[PAD],
        eos_token_id=tokenizer.get_vocab()[END],
        bos_token_id=None,
        initializer_range=0.05,
    )
    return LlamaForCausalLM(config)


def collate(forest: list[Tree]) -> Batch:
    """Pad trees to one length, a multiple of 32."""
    B, T = len(forest), -(-max(len(tree) for tree in forest) // 32) * 32
    tokens = np.zeros((B, T), dtype=np.int64)
    positions = np.zeros((B, T), dtype=np.int64)
    mask = np.zeros((B, T, T), dtype=bool)
    mask[:, :, 0] = True  # a padded row needs something to look at
    places: list[int] = []
    targets: list[int] = []
    weights: list[float] = []
    probes: list[tuple[int, int, int]] = []
    for row, tree in enumerate(forest):
        n = len(tree)
        tokens[row, :n] = tree.tokens
        positions[row, :n] = tree.depths
        mask[row, :n, :n] = tree.mask()
        for (node, token), weight in tree.targets.items():
            places.append(row * T + node)
            targets.append(token)
            weights.append(weight)
        probes += [(row * T + node, _HEADS.index(head), label) for (node, head), label in tree.probes.items()]
    return Batch(
        torch.from_numpy(tokens),
        torch.from_numpy(positions),
        torch.from_numpy(mask),
        torch.tensor(places, dtype=torch.long),
        torch.tensor(targets, dtype=torch.long),
        torch.tensor(weights),
        torch.tensor(probes, dtype=torch.long).reshape(-1, 3),
    )


class Batches(IterableDataset[Batch]):
    """One process's batches, without end: trees of like length together, in a seeded order."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, plan: Plan, rank: int) -> None:
        self.tokenizer, self.plan, self.rank = tokenizer, plan, rank

    def __iter__(self) -> Iterator[Batch]:
        torch.set_num_threads(1)
        pool, turn = 256, self.rank
        while True:
            some = sorted(trees(self.tokenizer, self.plan.seed, self.plan.first_tree + turn * pool, pool), key=len)
            groups = list(_groups(some, self.plan.batch_tokens))
            Random(seed_for(self.plan.seed, "order", turn)).shuffle(groups)
            yield from (collate(group) for group in groups)
            turn += self.plan.processes


def _groups(forest: list[Tree], most: int) -> Iterator[list[Tree]]:
    group: list[Tree] = []
    for tree in forest:
        if group and (len(group) + 1) * (len(tree) + 31) > most:
            yield group
            group = []
        group.append(tree)
    yield group


def new_heads(width: int) -> nn.ModuleList:
    """A linear layer for each probe, in the order of `HEADS`."""
    return nn.ModuleList(nn.Linear(width, head.answers) for head in HEADS.values())


def loss_of(
    model: LlamaForCausalLM, batch: Batch, heads: nn.ModuleList | None = None, wrong: dict[str, float] | None = None
) -> Tensor:
    """Weighted sum of cross-entropies over the N wanted tokens and, given their heads, the M probes.

    `wrong` is filled with each probe's share of wrong answers.
    """
    mask_BTT = batch.mask_BTT
    mask_B1TT = torch.zeros(mask_BTT.shape, device=mask_BTT.device).masked_fill_(~mask_BTT, -1e9)[:, None]
    found = model.model(
        input_ids=batch.tokens_BT,
        position_ids=batch.positions_BT,
        attention_mask=mask_B1TT,
        use_cache=False,
        output_hidden_states=heads is not None,
    )
    logits_NV = model.lm_head(found.last_hidden_state.flatten(0, 1)[batch.places_N]).float()
    loss_N = F.cross_entropy(logits_NV, batch.targets_N, reduction="none")
    loss = (loss_N * batch.weights_N).sum()
    for index, (head, (name, place)) in enumerate(zip(heads or (), HEADS.items(), strict=False)):
        at_M, _, labels_M = batch.probes_M3[batch.probes_M3[:, 1] == index].unbind(1)
        layer = min(place.layer, len(found.hidden_states) - 1)
        hidden_MD = found.hidden_states[layer].flatten(0, 1)[at_M]
        logits_MC = head(F.rms_norm(hidden_MD, hidden_MD.shape[-1:])).float()
        if place.each:
            bits_MC = (labels_M[:, None] >> torch.arange(place.answers, device=labels_M.device)) & 1
            weights_C = torch.tensor(BITS, device=logits_MC.device)
            cost = F.binary_cross_entropy_with_logits(logits_MC, bits_MC.float(), weights_C, reduction="sum")
            missed = (logits_MC > 0) != (bits_MC > 0)
        else:
            cost = F.cross_entropy(logits_MC, labels_M, reduction="sum")
            missed = logits_MC.argmax(-1) != labels_M
        loss = loss + place.weight * cost
        if wrong is not None and len(labels_M):
            wrong[name] = float(missed.float().mean())
    return loss


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    plan: Plan,
    report: Callable[[int, float, int, float, dict[str, float]], None],
) -> None:
    """Train in place, as one of `plan.processes`.

    `report(step, loss, tokens, seconds, wrong)` is called after every step; `wrong` is each probe's share of errors.
    """
    rank = dist.get_rank() if dist.is_initialized() else 0
    device = model.device
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    torch.manual_seed(plan.seed)
    heads = new_heads(plan.width).to(device)
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    others += heads.parameters()
    muon = Muon(matrices)
    adam = torch.optim.AdamW(others, lr=plan.adam_rate, betas=(0.9, 0.98), weight_decay=0.0)
    loader = DataLoader(Batches(tokenizer, plan, rank), batch_size=None, num_workers=1, prefetch_factor=16)
    begun, tokens = time.monotonic(), 0
    model.train()
    for step, batch in zip(range(plan.steps), loader, strict=False):
        share = _share(plan, step, time.monotonic() - begun)
        if share <= 0:
            break
        on_device = Batch(*(getattr(batch, name).to(device) for name in Batch.__dataclass_fields__))
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            loss = loss_of(model, on_device, heads, wrong := {})
        loss.backward()
        mean, more = _average([*matrices, *others], loss.detach(), on_device)
        muon.step(plan.muon_rate * share)
        adam.param_groups[0]["lr"] = plan.adam_rate * share
        adam.step()
        adam.zero_grad(set_to_none=True)
        tokens += more
        report(step, mean, tokens, time.monotonic() - begun, wrong)


def _share(plan: Plan, step: int, seconds: float) -> float:
    """Part of the full rate: up over the warm-up, level, down to zero over the last 80 %."""
    done = step / plan.steps
    if plan.minutes:
        clock = torch.tensor(seconds / (60 * plan.minutes))
        if dist.is_initialized():
            dist.broadcast(clock, 0)
        done = float(clock)
    return min(1.0, (step + 1) / plan.warm_up, (1 - done) / 0.8)


def _average(parameters: list[Tensor], loss: Tensor, batch: Batch) -> tuple[float, int]:
    """Gradients over all processes' batches, divided by their whole weight and clipped to norm 1.

    Returns the mean loss and the number of tree tokens.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    numbers = torch.tensor([float(loss), batch.weight, float(batch.positions_BT.numel())])
    flat = torch.cat([*(gradient.flatten() for gradient in gradients), numbers])
    if dist.is_initialized():
        dist.all_reduce(flat)
    total, weight, tokens = flat[-3:].tolist()
    flat = flat[:-3] / weight
    flat *= min(1.0, 1.0 / (float(flat.norm()) + 1e-6))
    at = 0
    for gradient in gradients:
        gradient.copy_(flat[at : at + gradient.numel()].view_as(gradient))
        at += gradient.numel()
    return total / weight, int(tokens)
