"""A trained reward model as something to call: normalised rewards of replies, and how far an ensemble disagrees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cai.engine.files import find_model
from cai.engine.vllm_reward import VllmReward
from cai.errors import InputError
from cai.records import Prompt
from cai.seeds import content_id
from cai.train.batches import Attention
from cai.train.collate import Collator, reward_inputs
from cai.train.examples import Example
from cai.train.loading import attention_of, pad_for
from cai.train.scoring import attach_rewards
from cai.train.tokens import ReplyTokeniser, Tokenised, fit

MEAN, STD = "cai_reward_mean", "cai_reward_std"
"""Names in a reward model's config.json."""


@dataclass(frozen=True, slots=True)
class Rewards:
    """Per reply: the members' mean, and their standard deviation (0 for a single model), both normalised."""

    mean_S: Tensor
    std_S: Tensor


@dataclass(frozen=True, slots=True)
class InVllm:
    """A member whose raw rewards vLLM computes, and its configuration."""

    engine: VllmReward
    config: Any


@dataclass(frozen=True, slots=True)
class RewardModel:
    """One reward model or an ensemble of them; all members share tokenizer and template.

    A member is a `transformers` model, or `InVllm`.
    """

    members: tuple[Any, ...]
    tokenise: ReplyTokeniser
    pad: int
    limit: int
    attention: Attention

    @classmethod
    def load(
        cls, folder: Path, device: str = "cpu", *, engine: Literal["transformers", "vllm"] = "transformers"
    ) -> RewardModel:
        """From a model folder, or a training's folder with `model` or `model-1`, `model-2` … in it."""
        from transformers import AutoTokenizer

        folders = member_folders(folder)
        members = tuple(_in_vllm(place) if engine == "vllm" else _in_transformers(place, device) for place in folders)
        tokenizer = AutoTokenizer.from_pretrained(folders[0], trust_remote_code=False)
        tokenise = ReplyTokeniser.of(tokenizer, str(folder))
        limit = int(members[0].config.get_text_config().max_position_embeddings)
        attention = "other" if engine == "vllm" else attention_of(members[0], limit)
        return cls(members, tokenise, pad_for(tokenizer, tokenise.end), limit, attention)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[Prompt], replies: Sequence[Sequence[str]], size: int = 32) -> Rewards:
        """Rewards of `replies[i]` to `prompts[i]`, flattened in order. Prompts are computed once for their replies."""
        items = list[Tokenised]()
        for prompt, texts in zip(prompts, replies, strict=True):
            item = self.tokenise(Example("", prompt, tuple(texts), (0.0,) * len(texts)))
            fitted = fit(item, self.limit, "cut")
            if fitted is None:
                raise InputError(f"prompt {prompt.id} leaves no room for a reply", f"{self.limit} tokens fit")
            items.append(fitted)
        found = [self._score(items[i : i + size]) for i in range(0, len(items), size)]
        table_MS = torch.cat(found, dim=1) if found else torch.zeros(len(self.members), 0)
        return Rewards(table_MS.mean(0), table_MS.std(0, unbiased=False))

    def _score(self, items: Sequence[Tokenised]) -> Tensor:
        rows = [
            (self._raw(member, items) - getattr(member.config, MEAN)) / getattr(member.config, STD)
            for member in self.members
        ]
        return torch.stack(rows)

    def _raw(self, member: Any, items: Sequence[Tokenised]) -> Tensor:
        """One member's rewards before normalising, [replies in order of items]."""
        if isinstance(member, InVllm):
            groups = [item.group for item in items]
            return torch.tensor(
                member.engine.rewards_of([(*group.prompt, *reply) for group in groups for reply in group.replies])
            )
        batch = Collator(items, self.pad, "auto", self.attention)([{"index": i} for i in range(len(items))])
        inputs = {k: v.to(member.device) for k, v in reward_inputs(batch).items()}
        return member(**inputs)["reward_S"].cpu()


def _in_transformers(place: Path, device: str) -> Any:
    from transformers import AutoModelForSequenceClassification

    find_model(str(place))
    model = AutoModelForSequenceClassification.from_pretrained(
        place, attn_implementation="sdpa", trust_remote_code=False, use_safetensors=True
    )
    _check_reward(model.config, place)
    attach_rewards(model)
    return model.to(device).eval()


def _in_vllm(place: Path) -> InVllm:
    from transformers import AutoConfig

    find_model(str(place))
    config = AutoConfig.from_pretrained(place, trust_remote_code=False)
    _check_reward(config, place)
    return InVllm(VllmReward(place), config)


def _check_reward(config: Any, place: Path) -> None:
    if config.num_labels != 1 or getattr(config, STD, None) is None:
        raise InputError(f"{place} is not a reward model", "give the folder of a `cai train reward`")


def member_folders(folder: Path) -> list[Path]:
    """The model folders in a training's folder, or the folder itself if it is a model."""
    if (folder / "config.json").is_file():
        return [folder]
    for place in (folder, folder / "reward"):
        found = [place / "model"] if (place / "model").is_dir() else sorted(place.glob("model-*"))
        if found:
            return found
    raise InputError(f"there is no reward model in {folder}", "give a run that `cai train reward` has finished")


def reward_fingerprint(folder: Path) -> str:
    """A reward model or ensemble by its files, whatever its folder is called. Raises InputError where there is none."""
    return content_id("rewards", [find_model(str(place)).fingerprint for place in member_folders(folder)])


@torch.no_grad()
def raw_rewards(model: Any, items: Sequence[Tokenised], pad: int, attention: Attention, size: int) -> Tensor:
    """Rewards before normalising, [replies in order of items]."""
    collate = Collator(items, pad, "auto", attention)
    was_training, found = model.training, list[Tensor]()
    model.eval()
    for start in range(0, len(items), size):
        batch = collate([{"index": i} for i in range(start, min(start + size, len(items)))])
        inputs = {k: v.to(model.device) for k, v in reward_inputs(batch).items()}
        found.append(model(**inputs)["reward_S"].float().cpu())
    model.train(was_training)
    return torch.cat(found)


def length_bias(reward_S: Tensor, length_S: Tensor) -> float:
    """Correlation of reward with reply length in tokens: what a policy would gain by writing more."""
    if reward_S.numel() < 3 or reward_S.std() == 0 or length_S.float().std() == 0:
        return 0.0
    return float(torch.corrcoef(torch.stack([reward_S.double(), length_S.double()]))[0, 1])
