"""Measure one provider in this process: memory of the first call, then time, then accuracy. Prints one JSON line."""

from __future__ import annotations

import json
import os
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch
from torch import Tensor

from benchmarks.head_losses import Replies, loss_of
from benchmarks.head_providers import make

NO_GRADIENT, LOSSES = ("nograd", "entropy", "judge"), ("dpo", "grpo")
ONE_IN = {"half": 2, "masked": 4}
"""One token in so many is scored."""
SAMPLED = 128


def inputs(n: int, depth: int, vocab: int, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Random hidden states and head; half of the targets are made likely, as a model's own text is."""
    random = torch.Generator(device).manual_seed(0)
    hidden_ND = torch.randn(n, depth, generator=random, device=device, dtype=dtype)
    weight_VD = torch.randn(vocab, depth, generator=random, device=device, dtype=dtype).mul_(depth**-0.5)
    targets_N = torch.randint(vocab, (n,), generator=random, device=device)
    for row in range(0, n, 2):
        lead = weight_VD[targets_N[row]].float()
        hidden_ND[row] += (lead * (14.0 / lead.square().sum())).to(dtype)
    return hidden_ND, weight_VD, targets_N


def resident() -> int:
    """Bytes of this process in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def peak_reset(device: str) -> int:
    """Forget earlier peaks; bytes in use now."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")
    return resident()


def peak(device: str) -> int:
    """Most bytes in use since the reset."""
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@contextmanager
def poisoned() -> Iterator[None]:
    """New tensors start as NaN, so that an output nobody wrote shows: PyTorch's deterministic mode does that."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(False)


def seconds(device: str) -> float:
    """Wall clock on a GPU; on a CPU the processor time of this process, which a busy machine does not stretch."""
    if device == "cuda":
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


class Case:
    """One provider, mode and shape."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.mode, self.device = spec["mode"], spec["device"]
        self.call = make(spec["provider"], self.mode)
        dtype = getattr(torch, spec["dtype"])
        n, depth, vocab = spec["shape"]
        self.hidden_ND, self.weight_VD, self.targets_N = inputs(n, depth, vocab, dtype, self.device)
        random = torch.Generator().manual_seed(1)
        self.upstream_N = torch.randn(self.targets_N.shape[0], generator=random).to(self.device)
        if self.mode == "mean":
            self.upstream_N = torch.full_like(self.upstream_N, 1.0 / self.targets_N.shape[0])
        self.kept_N = torch.ones_like(self.targets_N, dtype=torch.bool)
        self.sparse = self.mode in ONE_IN
        if self.sparse:
            self.kept_N = torch.arange(self.targets_N.shape[0], device=self.device) % ONE_IN[self.mode] == 0
        self.compacts = spec["provider"] not in ("naive", "compiled")
        self.replies = Replies.of(self.targets_N)
        self.hidden_ND.requires_grad_(self.mode not in NO_GRADIENT)
        self.weight_VD.requires_grad_(self.mode not in (*NO_GRADIENT, "frozen"))

    def run(self) -> Tensor:
        """Scores (or a scalar), and gradients where the mode asks for them."""
        self.hidden_ND.grad = self.weight_VD.grad = None
        hidden_ND, targets_N, upstream_N = self.hidden_ND, self.targets_N, self.upstream_N
        if self.sparse and self.compacts:
            hidden_ND, targets_N, upstream_N = (t[self.kept_N] for t in (hidden_ND, targets_N, upstream_N))
        if self.mode in NO_GRADIENT:
            with torch.no_grad():
                return self.call(hidden_ND, self.weight_VD, targets_N)
        out = self.call(hidden_ND, self.weight_VD, targets_N)
        if self.sparse and not self.compacts:
            out, upstream_N = out[self.kept_N], upstream_N[self.kept_N]
        if out.dim() == 0:
            loss = out
        elif self.mode in LOSSES:
            loss = loss_of(self.mode, out, self.replies)
        else:
            loss = (out * upstream_N).sum()
        loss.backward()
        return out.detach()

    def results(self, out: Tensor) -> list[Tensor]:
        """Copies of everything a run made."""
        grads = [leaf.grad for leaf in (self.hidden_ND, self.weight_VD)]
        return [out.clone(), *(grad.clone() for grad in grads if grad is not None)]

    def errors(self, out: Tensor) -> dict[str, float]:
        """Against float64 on sampled rows, and on sampled rows of the head's gradient."""
        rows = self.kept_N.nonzero()[:, 0]
        picks = torch.linspace(0, rows.numel() - 1, SAMPLED, device=rows.device).long()
        hidden = self.hidden_ND.detach()[rows[picks]].double()
        weight = self.weight_VD.detach().double()
        logp_SV = (hidden @ weight.T).log_softmax(-1)
        targets_S = self.targets_N[rows[picks]]
        true_S = logp_SV.gather(1, targets_S[:, None])[:, 0]
        found: dict[str, float] = {}
        if self.mode in LOSSES:
            self.upstream_N = self._true_upstream()
        if out.dim() == 2:
            true_entropy_S = -(logp_SV.exp() * logp_SV).sum(-1)
            found["entropy_max"] = float((out[1, picks].double() - true_entropy_S).abs().max())
            out = out[0]
        if out.dim() == 1:
            gap_S = (out[picks].double() - true_S).abs()
            found |= {"logp_max": float(gap_S.max()), "logp_rms": float(gap_S.square().mean().sqrt())}
        if self.hidden_ND.grad is not None:
            share_SV = -logp_SV.exp()
            share_SV[torch.arange(SAMPLED), targets_S] += 1
            true_SD = (share_SV @ weight) * self.upstream_N[rows[picks], None].double()
            found["hidden_grad"] = _relative(self.hidden_ND.grad[rows[picks]], true_SD)
        if self.weight_VD.grad is not None:
            found["weight_grad"] = self._weight_error(rows, weight)
        return found

    def _true_upstream(self) -> Tensor:
        """The loss's gradient by each log-prob, from float64 log-probs of all rows."""
        weight = self.weight_VD.detach().double()
        chunks = (
            _true_logp(self.hidden_ND.detach()[rows].double(), weight, self.targets_N[rows])
            for rows in torch.arange(len(self.targets_N), device=weight.device).split(256)
        )
        logp_N = torch.cat(list(chunks)).requires_grad_()
        loss_of(self.mode, logp_N, self.replies).backward()
        assert logp_N.grad is not None
        return logp_N.grad

    def _weight_error(self, rows: Tensor, weight: Tensor) -> float:
        picks = self.targets_N[rows[:: max(1, rows.numel() // 64)]].unique()
        true = torch.zeros(picks.numel(), weight.shape[1], dtype=torch.float64, device=weight.device)
        for chunk in rows.split(256):
            hidden = self.hidden_ND.detach()[chunk].double()
            logits = hidden @ weight.T
            share = -(logits[:, picks] - logits.logsumexp(-1, keepdim=True)).exp()
            share += (self.targets_N[chunk, None] == picks).double()
            true += (share * self.upstream_N[chunk, None].double()).T @ hidden
        assert self.weight_VD.grad is not None
        return _relative(self.weight_VD.grad[picks], true)


def _true_logp(hidden_SD: Tensor, weight_VD: Tensor, targets_S: Tensor) -> Tensor:
    return (hidden_SD @ weight_VD.T).log_softmax(-1).gather(1, targets_S[:, None])[:, 0]


def _relative(got: Tensor, true: Tensor) -> float:
    return float((got.double() - true).norm() / true.norm())


def measure(spec: dict[str, Any]) -> dict[str, Any]:
    """Everything about one case."""
    case = Case(spec)
    case.call(case.hidden_ND[:8].detach(), case.weight_VD[:64].detach(), case.targets_N[:8] % 64)  # libraries load here
    if spec["provider"] == "compiled":
        case.run()  # the compiler's own memory is not the code's
    before = peak_reset(case.device)
    out = case.run()
    extra = peak(case.device) - before
    grads = sum(t.grad.nbytes for t in (case.hidden_ND, case.weight_VD) if t.grad is not None)
    found: dict[str, Any] = {"extra_mb": extra / 1e6, "gradients_mb": grads / 1e6}
    first = case.results(out)
    times, wall = [], time.perf_counter()
    for _ in range(spec["repeats"]):
        start = seconds(case.device)
        out = case.run()
        times.append(seconds(case.device) - start)
    wall = (time.perf_counter() - wall) / spec["repeats"]
    again = case.results(out)
    repeatable = all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    with poisoned():
        out = case.run()
    cuts = quantiles(times, n=5) if len(times) > 2 else [min(times), *times[:2], max(times)]
    found |= {"ms": 1e3 * sorted(times)[len(times) // 2], "p20": 1e3 * cuts[0], "p80": 1e3 * cuts[-1]}
    found |= {"mean_wall_ms": 1e3 * wall, "load": os.getloadavg()[0], "repeatable": repeatable, **case.errors(out)}
    return found


def main() -> None:
    spec = json.loads(sys.argv[1])
    torch.set_num_threads(spec["threads"])
    print(json.dumps(measure(spec)))


if __name__ == "__main__":
    main()
