"""One step of a model over the slots, and the checks that the model can be run this way at all."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cai.engine.batching.attention import NAME, Layout, Segment, least_equal_rows
from cai.engine.batching.pointwise import use_place_free_functions
from cai.engine.batching.rows import RowLinear, cut_rows, use_row_linears
from cai.engine.batching.slots import Slots, round_up
from cai.errors import InputError

CHECKED_TOKENS = 320
CHECKED_STEPS = 12
CHECKED_PRODUCTS = 10**10
"""The check's tokens are fewer where a model has so many weights that more would take seconds."""


@dataclass(frozen=True, slots=True)
class Work:
    """Tokens of one request to compute in a step: `ids` from position `start` of its slot on.

    The logits of the last `logits` of them come back.
    """

    slot: int
    start: int
    ids: Sequence[int]
    logits: int


class Runner:
    """A model changed so that a row's result does not depend on the other rows.

    `exact` tells whether a check at the start found that to hold bit for bit on this machine.
    """

    def __init__(self, model: Any, *, most_slots: int, budget: int) -> None:
        config = model.config.get_text_config()
        heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
        size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        weight = model.get_output_embeddings().weight
        self.model, self.device, self.vocabulary = model.eval(), weight.device, weight.shape[0]
        self._least_rows = least_equal_rows(size, weight.dtype, weight.device)
        self.slots = Slots(
            config.num_hidden_layers,
            heads,
            size,
            dtype=weight.dtype,
            device=weight.device,
            most=most_slots,
            budget=budget,
        )
        with torch.inference_mode():
            self._prepare()

    def step(self, work: Sequence[Work]) -> Tensor:
        """Logits in float32, [rows asked for, V], in the order of `work`, whose single tokens must come first."""
        ids = [token for item in work for token in item.ids]
        slots = [item.slot for item in work for _ in item.ids]
        positions = [item.start + offset for item in work for offset in range(len(item.ids))]
        total = len(ids)
        # Rows that belong to nobody make the count one that the products take whole.
        missing = sum(cut_rows(total, self._row_counts)) - total
        packed = torch.tensor([[*part, *(0,) * missing] for part in (ids, slots, positions)], device=self.device)
        layout = self._layout(work, packed[1, :total], packed[2, :total])
        wanted, row = list[int](), 0
        for item in work:
            row += len(item.ids)
            wanted += range(row - item.logits, row)
        logits = self.model(
            input_ids=packed[:1],
            position_ids=packed[2:],
            use_cache=False,
            logits_to_keep=torch.tensor(wanted, dtype=torch.long, device=self.device),
            layout=layout,
        ).logits
        return logits[0].float()

    def update_weights(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Take weights by their names in the model. Raises KeyError for an unknown one, before any change."""
        named = dict(weights)
        embeddings = "model.embed_tokens.weight"
        if self.model.config.get_text_config().tie_word_embeddings and embeddings in named:
            named["lm_head.weight"] = named[embeddings]
        plain, linears = dict(self.model.named_parameters()), dict[str, RowLinear]()
        for path, module in self.model.named_modules():
            if isinstance(module, RowLinear):
                linears |= {f"{path}.weight": module, f"{path}.bias": module}
        unknown = [name for name in named if name not in plain and name not in linears]
        if unknown:
            raise KeyError(f"the model has no weights named {unknown[0]}")
        with torch.no_grad():
            for name, tensor in named.items():
                if name in linears:
                    kind = name.rpartition(".")[2]
                    linears[name].load(tensor if kind == "weight" else None, tensor if kind == "bias" else None)
                else:
                    plain[name].copy_(tensor)

    def _layout(self, work: Sequence[Work], slot_N: Tensor, position_N: Tensor) -> Layout:
        singles = sum(len(item.ids) == 1 for item in work)
        assert all(len(item.ids) == 1 for item in work[:singles]), "single tokens come first"
        segments, row = list[Segment](), singles
        for item in work[singles:]:
            segments.append(Segment(item.slot, item.start, len(item.ids), row))
            row += len(item.ids)
        return Layout(
            self.slots,
            slot_N,
            position_N,
            singles,
            tuple(segments),
            self._least_rows,
            high=1 + max((item.slot for item in work[:singles]), default=0),
            keys=round_up(1 + max((item.start for item in work[:singles]), default=0)),
        )

    def _prepare(self) -> None:
        """Change the model, compare it with itself before, and with itself in other company."""
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(0, self.vocabulary, (self._checked(),), generator=generator).tolist()
        truth = self.model(input_ids=torch.tensor([ids], device=self.device), use_cache=False).logits[0].float()
        self._row_counts = use_row_linears(self.model)
        if self.device.type == "cpu":
            use_place_free_functions(self.model)
        self.model.set_attn_implementation(NAME)
        try:
            alone, together = self._check_alone(ids), self._check_together(ids)
        except (NotImplementedError, RuntimeError, AttributeError, KeyError) as error:
            raise InputError(
                f"this architecture cannot be batched by the transformers engine ({error})", "use --engine vllm"
            ) from error
        # Of each token, over the vocabulary. Where attention is sharp a few tokens stray by rounding alone, whoever
        # computes them; what is computed wrongly is wrong by much, or for many.
        error_T = (alone - truth).pow(2).mean(-1).sqrt() / truth.std().clamp_min(1e-6)
        most, worst = error_T.quantile(0.9), error_T.max()
        allowed, stray = (1e-3, 0.05) if alone.dtype == self.model.dtype else (0.1, 0.5)
        if not (most <= allowed and worst <= stray):
            error = f"{most:.1e}, at most {worst:.1e}"
            what = f"this architecture gives other results when batched (relative error {error})"
            raise InputError(what, "use --engine vllm")
        self.exact = torch.equal(alone, together)
        self.slots.clear()

    def _checked(self) -> int:
        weights = sum(weight.numel() for weight in self.model.parameters())
        positions = getattr(self.model.config.get_text_config(), "max_position_embeddings", None) or 2 * CHECKED_TOKENS
        return max(4 * CHECKED_STEPS, min(CHECKED_TOKENS, CHECKED_PRODUCTS // weights, positions // 2))

    def _check_alone(self, ids: list[int]) -> Tensor:
        slot = self._slot()
        logits = self.step([Work(slot, 0, ids, len(ids))])
        self.slots.give(slot)
        return logits

    def _check_together(self, ids: list[int]) -> Tensor:
        """The same tokens in pieces and one by one, beside another request that is computed in other pieces."""
        first, other = self._slot(), self._slot()
        third, half = len(ids) // 3, len(ids) // 2
        logits = [self.step([Work(first, 0, ids[:third], third)])]
        beside = Work(other, 0, ids[third:], 1)
        logits.append(self.step([beside, Work(first, third, ids[third:half], half - third)])[1:])
        at, length = half, len(ids) - third
        for piece in (*(1,) * CHECKED_STEPS, len(ids) - half - CHECKED_STEPS):
            beside, length = Work(other, length, ids[at : at + 1], 1), length + 1
            logits.append(self.step([beside, Work(first, at, ids[at : at + piece], piece)])[1:])
            at += piece
        self.slots.give(first)
        self.slots.give(other)
        return torch.cat(logits)

    def _slot(self) -> int:
        slot = self.slots.take(CHECKED_TOKENS * 2)
        if slot is None:
            raise InputError("engine.kv_cache_gib is too small for a single request", "raise it")
        return slot
