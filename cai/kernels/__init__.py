"""Log-probabilities from hidden states and a language-model head, without ever holding [tokens, vocabulary] in float32.

`token_logprobs` scores given targets, `candidate_logprobs` a few tokens per row, `fused_token_loss` evaluates a loss
while it scores; `scored_tokens` finds the tokens that count. `reference.py` states the meaning; every other file only
makes it fast. This package needs torch, uses Triton where it is there, and knows nothing of the rest of `cai`.
"""

from cai.kernels.candidates import candidate_logprobs
from cai.kernels.compaction import scored_tokens
from cai.kernels.reference import reference_token_logprobs
from cai.kernels.scores import TokenScores
from cai.kernels.scoring import token_logprobs
from cai.kernels.self_check import failures
from cai.kernels.token_loss import LossChunk, fused_token_loss

__all__ = [
    "LossChunk",
    "TokenScores",
    "candidate_logprobs",
    "failures",
    "fused_token_loss",
    "reference_token_logprobs",
    "scored_tokens",
    "token_logprobs",
]
