"""How far a finished policy has moved: the KL to the model it came from, estimated on replies it drew itself."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cai.config.train import TrainSettings
from cai.records import Prompt
from cai.train.batches import make_rows
from cai.train.examples import Example
from cai.train.loading import Base, attention_of, load_policy, open_base, pad_for
from cai.train.rl.experience import unpack
from cai.train.rl.policy import Policy
from cai.train.tokens import Tokenised, fit

CHUNK = 32


def mean_kl(model: str, reference: str, replies: Sequence[tuple[Prompt, str]]) -> float:
    """Mean over the replies of log p(reply | prompt) under `model` minus that under `reference` (k1), nats a reply.

    The replies were drawn by `model` at temperature 1, and both read the same tokens; those past the context are left
    out.
    """
    bases = [open_base(TrainSettings(model=name)) for name in (model, reference)]
    fitted = [
        fit(bases[0].tokenise(Example("", prompt, (text,), (1.0,))), bases[0].limit, "drop") for prompt, text in replies
    ]
    items = [item for item in fitted if item is not None]
    own_B, other_B = (_logp(base, items) for base in bases)
    return float((own_B - other_B).mean())


@torch.no_grad()
def _logp(base: Base, items: Sequence[Tokenised]) -> Tensor:
    """[B] log-probs of the items' first replies."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    policy = Policy(load_policy(base, TrainSettings())).to(device).eval()
    pad, attention = pad_for(base.tokenizer, base.tokenise.end), attention_of(policy.model, base.limit)
    found = list[Tensor]()
    for start in range(0, len(items), CHUNK):
        groups = [item.group for item in items[start : start + CHUNK]]
        rows = make_rows(groups, pad=pad, share=False, attention=attention)
        body = {name: value.to(device) for name, value in rows.body().items()}
        logp_N = policy(body, rows.score_at_N.to(device), rows.score_targets_N.to(device), 1.0)["logp_N"]
        longest = max(len(reply) for group in groups for reply in group.replies)
        found.append(unpack(logp_N.float(), rows, longest).sum(dim=1).cpu())
    return torch.cat(found)
