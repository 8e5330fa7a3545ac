"""InstructGPT's pretraining mix (Ouyang et al. 2022, equation 2): likelihood of other text beside the reward."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from torch import Tensor

from cai.errors import InputError, Where
from cai.inputs.lines import read_lines
from cai.seeds import seed_for
from cai.train.batches import Group, make_rows
from cai.train.examples import read_examples
from cai.train.tokens import ReplyTokeniser, fit


@dataclass(frozen=True, slots=True)
class SupervisedMix:
    """Dialogues or plain text as token ids, drawn anew for each gradient step."""

    groups: tuple[Group, ...]
    seed: int

    @classmethod
    def read(cls, path: Path, tokenise: ReplyTokeniser, limit: int, *, seed: int) -> SupervisedMix:
        """From a file that `cai train sft` would read, or from a .txt file of pretraining text.

        Dialogues past the context are left out; plain text has a document a line, cut into pieces that fit.
        """
        if path.suffix == ".txt":
            groups = tuple(_documents(path, tokenise, limit))
        else:
            examples, _ = read_examples(path, "sft")
            fitted = [fit(tokenise(example), limit, "drop") for example in examples]
            groups = tuple(item.group for item in fitted if item is not None)
        if not groups:
            raise InputError("nothing in it fits in the model's context", f"{limit} tokens fit", Where(path))
        return cls(groups, seed)

    def loss_with(self, size: int, pad: int) -> Callable[[Any, int, int], Tensor]:
        """`loss(policy, step, minibatch)`: mean negative log-likelihood per token of `size` dialogues."""

        def loss(policy: Any, step: int, minibatch: int) -> Tensor:
            draw = Random(seed_for(self.seed, "ptx", step, minibatch))
            rows = make_rows(draw.choices(self.groups, k=size), pad=pad, share=False)
            device = next(policy.parameters()).device
            body = {name: value.to(device) for name, value in rows.body().items()}
            scores = policy(body, rows.score_at_N.to(device), rows.score_targets_N.to(device), 1.0)
            # The value head must take part in every backward pass, or data parallelism waits for its gradient.
            unused = 0.0 * scores["value_N"].sum() if "value_N" in scores else 0.0
            return unused - scores["logp_N"].mean()

        return loss


def _documents(path: Path, tokenise: ReplyTokeniser, limit: int) -> Iterator[Group]:
    """Pieces of at most `limit` tokens, all but the first of each scored; a document's last one with the end token."""
    if not path.is_file():
        raise InputError(f"there is no file {path}", "give one with `ptx_data=FILE`", Where("rl.ptx_data"))
    for _, line in read_lines(path):
        if isinstance(line, InputError):
            raise line
        ids = (*tokenise.renderer.plain_ids(line.strip()), tokenise.end)
        for start in range(0, len(ids) - 1, limit):
            piece = ids[start : start + limit]
            if len(piece) > 1:
                yield Group(piece[:1], (piece[1:],))
