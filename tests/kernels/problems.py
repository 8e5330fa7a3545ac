"""Problems with known answers: random heads, or any logits one cares to write down, and their float64 truth."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from cai.kernels import TokenScores, reference_token_logprobs
from cai.kernels.logit_map import LogitMap

# Error budget against float64, per score.
LOGP_ERROR = 5e-5
ENTROPY_ERROR = 1e-4


@dataclass(frozen=True)
class Problem:
    hidden_ND: Tensor
    weight_VD: Tensor
    targets_N: Tensor
    bias_V: Tensor | None = None
    logit_map: LogitMap = field(default_factory=LogitMap)
    valid_vocab: int | None = None

    @property
    def settings(self) -> dict[str, object]:
        """Keyword arguments of `token_logprobs`."""
        mapping = self.logit_map
        return {
            "bias": self.bias_V,
            "softcap": mapping.softcap,
            "temperature": mapping.temperature,
            "logit_scale": mapping.scale,
            "valid_vocab": self.valid_vocab,
        }

    def double(self) -> Problem:
        """The same numbers in float64, as leaves."""
        wide = [None if t is None else t.detach().double().requires_grad_() for t in self.leaves]
        return replace(self, hidden_ND=wide[0], weight_VD=wide[1], bias_V=wide[2])

    def leaf(self) -> Problem:
        """The same tensors as leaves that take gradients."""
        own = [None if t is None else t.detach().clone().requires_grad_() for t in self.leaves]
        return replace(self, hidden_ND=own[0], weight_VD=own[1], bias_V=own[2])

    @property
    def leaves(self) -> tuple[Tensor, Tensor, Tensor | None]:
        return self.hidden_ND, self.weight_VD, self.bias_V

    @property
    def given(self) -> list[Tensor]:
        return [leaf for leaf in self.leaves if leaf is not None]


def random_problem(
    n: int, depth: int, vocab: int, dtype: torch.dtype = torch.float32, *, bias: bool = False, seed: int = 0
) -> Problem:
    """Logits of standard deviation 3; a third of the targets are the likeliest token, as in text a model wrote."""
    random = torch.Generator().manual_seed(seed)
    hidden_ND = torch.randn(n, depth, generator=random).to(dtype)
    weight_VD = (torch.randn(vocab, depth, generator=random) * 3 * depth**-0.5).to(dtype)
    targets_N = torch.randint(vocab, (n,), generator=random)
    likeliest_N = (hidden_ND.float() @ weight_VD.float().T).argmax(-1) if n else targets_N
    targets_N = torch.where(torch.arange(n) % 3 == 0, likeliest_N, targets_N)
    bias_V = torch.randn(vocab, generator=random).to(dtype) if bias else None
    return Problem(hidden_ND, weight_VD, targets_N, bias_V)


def problem_of_logits(z_NV: Tensor, targets_N: Tensor) -> Problem:
    """One-hot hidden states make the head's columns the logits, exactly."""
    return Problem(torch.eye(z_NV.shape[0], dtype=z_NV.dtype), z_NV.T.contiguous(), targets_N)


def truth(problem: Problem, **kwargs: object) -> TokenScores:
    """Scores in float64."""
    wide = problem.double()
    return truth_of(wide, **kwargs)


def truth_of(wide: Problem, **kwargs: object) -> TokenScores:
    return reference_token_logprobs(
        wide.hidden_ND,
        wide.weight_VD,
        wide.targets_N,
        bias=wide.bias_V,
        logit_map=wide.logit_map,
        valid_vocab=wide.valid_vocab,
        **kwargs,
    )


def exact_logp(z_NV: Tensor, targets_N: Tensor) -> Tensor:
    """-log1p(sum of the others' odds) in float64: exact also where p is 1 to sixteen digits."""
    z_NV = z_NV.double()
    above_NV = z_NV - z_NV.gather(1, targets_N[:, None])
    above_NV.scatter_(1, targets_N[:, None], -torch.inf)
    return -torch.nn.functional.softplus(above_NV.logsumexp(1))


def distance(got: Tensor, expected: Tensor) -> float:
    """Relative Frobenius distance; absolute where the truth is 0."""
    gap = (got.detach().double() - expected.detach().double()).norm()
    size = expected.detach().double().norm()
    return float(gap / size if size > 0 else gap)
