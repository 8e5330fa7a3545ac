"""InstructGPT's pretraining mix (Ouyang et al. 2022, equation 2): supervised likelihood beside the reward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from torch import Tensor

from cai.errors import InputError, Where
from cai.seeds import seed_for
from cai.train.batches import Group, make_rows
from cai.train.examples import read_examples
from cai.train.tokens import ReplyTokeniser, fit


@dataclass(frozen=True, slots=True)
class SupervisedMix:
    """Dialogues as token ids, drawn anew for each gradient step."""

    groups: tuple[Group, ...]
    seed: int

    @classmethod
    def read(cls, path: Path, tokenise: ReplyTokeniser, limit: int, *, seed: int) -> SupervisedMix:
        """From a file that `cai train sft` would read; dialogues past the context are left out."""
        examples, _ = read_examples(path, "sft")
        fitted = [fit(tokenise(example), limit, "drop") for example in examples]
        groups = tuple(item.group for item in fitted if item is not None)
        if not groups:
            raise InputError("no dialogue fits in the model's context", f"{limit} tokens fit", Where(path))
        return cls(groups, seed)

    def loss_with(self, size: int, pad: int) -> Callable[[Any, int, int], Tensor]:
        """`loss(policy, step, minibatch)`: mean negative log-likelihood per token of `size` dialogues."""

        def loss(policy: Any, step: int, minibatch: int) -> Tensor:
            draw = Random(seed_for(self.seed, "ptx", step, minibatch))
            rows = make_rows(draw.choices(self.groups, k=size), pad=pad, share=False)
            device = next(policy.parameters()).device
            body = {name: value.to(device) for name, value in rows.body().items()}
            return -policy(body, rows.score_at_N.to(device), rows.score_targets_N.to(device), 1.0)["logp_N"].mean()

        return loss
