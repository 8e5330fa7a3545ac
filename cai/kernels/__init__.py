"""Log-probabilities from hidden states and a language-model head, without ever holding [tokens, vocabulary] in float32.

`token_logprobs` scores given targets, `scored_tokens` finds the ones that count. `reference.py` states the meaning;
every other file only makes it fast. This package needs torch, uses Triton where it is there, and knows nothing of the
rest of `cai`.
"""

from cai.kernels.compaction import scored_tokens
from cai.kernels.reference import reference_token_logprobs
from cai.kernels.scores import TokenScores
from cai.kernels.scoring import token_logprobs

__all__ = ["TokenScores", "reference_token_logprobs", "scored_tokens", "token_logprobs"]
