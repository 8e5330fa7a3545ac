"""The trained model as one module: log-probs of given reply tokens, and for PPO a value for each of them.

Everything a step differentiates happens inside `forward`, so the hooks of DDP and FSDP fire. Shapes as in `batches`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from cai.kernels import token_logprobs
from cai.train.last_layer import scored_hidden
from cai.train.scoring import bare, cast_for_head, head_shape


class Policy(nn.Module):
    """A causal language model, with a linear value head or a separate critic where a method needs values."""

    def __init__(self, model: nn.Module, *, critic: str | None = None) -> None:
        super().__init__()
        self.model = model
        self.trunk = deepcopy(bare(model).base_model) if critic == "separate" else None
        self.value = nn.Linear(bare(model).config.get_text_config().hidden_size, 1) if critic else None
        if self.value is not None:
            nn.init.zeros_(self.value.weight)
            nn.init.zeros_(self.value.bias)

    def forward(
        self,
        body: dict[str, Tensor],
        score_at_N: Tensor,
        score_targets_N: Tensor,
        temperature: float,
        entropy: bool = False,
    ) -> dict[str, Tensor]:
        """`logp_N` at the sampling temperature, `entropy_N` if asked for (no gradient), `value_N` with a critic.

        A token's value is read where the token is predicted from: it does not know the token.
        """
        target = bare(self.model)
        hidden_MD = scored_hidden(target.base_model, body, score_at_N)
        head, shape = target.get_output_embeddings(), head_shape(target.config)
        scored_MD, weight_VD, bias = cast_for_head(hidden_MD, head.weight, head.bias)
        scores = token_logprobs(
            scored_MD,
            weight_VD,
            score_targets_N,
            row_index=score_at_N,
            bias=bias,
            temperature=temperature,
            logit_scale=shape.scale,
            softcap=shape.softcap,
            return_entropy="metric" if entropy else False,
        )
        out = {"logp_N": scores.logp_N}
        if scores.entropy_N is not None:
            out["entropy_N"] = scores.entropy_N
        if self.value is not None:
            seen_MD = hidden_MD if self.trunk is None else scored_hidden(self.trunk, body, score_at_N)
            out["value_N"] = self.value(seen_MD[score_at_N.long()].to(self.value.weight.dtype))[:, 0].float()
        return out


class Reference:
    """What the KL is measured to: the policy as it was at the start, or another model.

    The start is a frozen copy, or with LoRA the same weights with the adapters switched off.
    """

    def __init__(self, policy: Policy, other: nn.Module | None = None) -> None:
        adapted = other is None and hasattr(policy.model, "disable_adapter")
        self._adapted: Any = policy.model if adapted else None
        self._module = policy if adapted else Policy(deepcopy(policy.model) if other is None else other)
        if self._adapted is None:
            self._module.requires_grad_(False).eval()

    def to(self, device: torch.device) -> Reference:
        """Move a frozen copy; shared weights are where the policy is."""
        self._module.to(device)
        return self

    @torch.no_grad()
    def __call__(
        self, body: dict[str, Tensor], score_at_N: Tensor, score_targets_N: Tensor, temperature: float
    ) -> Tensor:
        """`logp_N` under the reference, as in `Policy.forward`."""
        context: AbstractContextManager[Any] = self._adapted.disable_adapter() if self._adapted else nullcontext()
        with context:
            return self._module(body, score_at_N, score_targets_N, temperature)["logp_N"]


def policy_weights(policy: Policy) -> list[tuple[str, Tensor]]:
    """The policy's weights as `transformers` names them, with LoRA adapters added into copies.

    Nothing is merged in place: adding an adapter to the frozen weights and taking it off again leaves them rounded, a
    little further from the reference at every step.
    """
    model: Any = policy.model
    if not hasattr(model, "disable_adapter"):
        return list(model.state_dict().items())
    base = model.get_base_model()
    layers = {f"{name}.base_layer.weight": layer for name, layer in base.named_modules() if hasattr(layer, "lora_A")}
    found: list[tuple[str, Tensor]] = []
    for name, value in base.state_dict().items():
        if name in layers:
            with torch.no_grad():
                change = sum(layers[name].get_delta_weight(one).float() for one in layers[name].active_adapters)
            value = (value.float() + change).to(value.dtype)
        if "lora_" not in name:
            found.append((name.replace(".base_layer", ""), value))
    return found
