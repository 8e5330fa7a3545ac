"""Linear layers through oneDNN: the same numbers as torch's own, and only where they are meant to be used."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional

from cai.kernels.onednn import mkl_is_slow
from cai.train.linears import ThroughOneDNN, onednn_linear

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")


def gradients(call: object, *shape: int, bias: bool, grad: str) -> list[torch.Tensor]:
    """Of a [96, shape[-1]] layer on random input: the output, then the gradients of input, weight and bias."""
    torch.manual_seed(0)
    x, weight = torch.randn(*shape, requires_grad=True), torch.randn(96, shape[-1], requires_grad=True)
    added = torch.randn(96, requires_grad=True) if bias else None
    out = call(x, weight, added)  # type: ignore[operator]
    if grad == "expanded":
        out.sum().backward()
    else:
        (out.transpose(0, 1) * torch.arange(out.numel()).view_as(out.transpose(0, 1)) / out.numel()).sum().backward()
    found = [out.detach(), x.grad, weight.grad, *([added.grad] if added is not None else [])]
    return [t for t in found if t is not None]


@pytest.mark.parametrize("grad", ["expanded", "transposed"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(70, 33), (3, 41, 200), (2, 5, 40, 7)])
def test_output_and_gradients_are_those_of_torch(shape: tuple[int, ...], bias: bool, grad: str) -> None:
    ours = gradients(onednn_linear, *shape, bias=bias, grad=grad)
    theirs = gradients(functional.linear, *shape, bias=bias, grad=grad)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_frozen_weights_get_no_gradient() -> None:
    x, weight = torch.randn(80, 8, requires_grad=True), torch.randn(4, 8)
    onednn_linear(x, weight).sum().backward()
    assert weight.grad is None
    torch.testing.assert_close(x.grad, weight.sum(0).expand(80, 8))


def test_within_it_layers_of_many_float32_rows_go_through_onednn() -> None:
    layer, wide = nn.Linear(8, 8), nn.Linear(8, 8, dtype=torch.float64)
    many, few = torch.randn(64, 8), torch.randn(63, 8)
    with ThroughOneDNN():
        assert type(layer(many).grad_fn).__name__ == "_LinearBackward"
        assert type(layer(few).grad_fn).__name__ == "AddmmBackward0"
        assert type(wide(many.double()).grad_fn).__name__ == "AddmmBackward0"
        with torch.autocast("cpu", torch.bfloat16):
            assert layer(many).dtype == torch.bfloat16
    assert type(layer(many).grad_fn).__name__ == "AddmmBackward0"


@pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() != "AVX512" or not torch.backends.mkl.is_available(),
    reason="MKL takes all that a processor without AVX-512 has",
)
def test_the_maker_of_the_processor_decides(tmp_path: Path) -> None:
    for name in ("AuthenticAMD", "GenuineIntel"):
        (tmp_path / name).write_text(f"processor\t: 0\nvendor_id\t: {name}\n", "utf-8")
    assert mkl_is_slow(tmp_path / "AuthenticAMD")
    assert not mkl_is_slow(tmp_path / "GenuineIntel")
    assert not mkl_is_slow(tmp_path / "none")
