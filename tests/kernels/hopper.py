"""Compile the head product for compute capability 9.0 and read the assembler's report. Started by test_triton.py."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from cai.kernels.triton_forward import _forward_kernel
from cai.kernels.tuned import TileConfig, _entries

SHARED_BYTES = 227 * 1024  # of one block on that architecture


def report(config: TileConfig, *, store: bool) -> tuple[int, int, int]:
    """(registers, bytes spilled, bytes of shared memory) in bfloat16 with the copy engine."""
    names = _forward_kernel.arg_names
    half = config.columns // 2 if config.halves else config.columns
    types = dict.fromkeys(("n", "first", "last", "depth", "items"), "i32")
    types |= dict.fromkeys(("hidden_stride", "weight_stride", "store_stride"), "i32")
    types |= dict.fromkeys(("factor", "to_cap", "from_cap"), "fp32")
    types |= dict.fromkeys(("bias_ptr", "shift_ptr", "base_ptr", "slope_ptr", "sum_ptr", "moment_ptr"), "*fp32")
    types |= {"target_ptr": "*i32", "store": f"tensordesc<bf16[{config.rows},{half}]>" if store else "*fp32"}
    types |= {"hidden": f"tensordesc<bf16[{config.rows},{config.depth}]>"}
    types |= {"weight": f"tensordesc<bf16[{config.columns},{config.depth}]>"}
    constants: dict[str, Any] = {
        "ROWS": config.rows, "COLUMNS": config.columns, "DEPTH": config.depth, "GROUP": config.group,
        "SLAB": config.slab, "HALVES": config.halves, "FLATTEN": config.flatten, "TMA": True, "UPCAST": False,
        "HAS_BIAS": False, "HAS_CAP": False, "MOMENT": False, "STORE": store, "STORE_TMA": store, "MIX": False,
    }  # fmt: skip
    signature = {name: "constexpr" if name.isupper() else types[name] for name in names}
    pairs = {(names.index(name),): value for name, value in constants.items()}
    divisible: Any = {(names.index(name),): [["tt.divisibility", 16]] for name in ("depth", "store_stride")}
    source = ASTSource(_forward_kernel, signature, pairs, divisible)
    options = {"num_warps": config.warps, "num_stages": config.stages}
    built = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    assert "wgmma.mma_async" in built.asm["ptx"], "the product does not use the tensor cores' own instruction"
    assert "cp.async.bulk.tensor" in built.asm["ptx"], "tiles are not fetched by the copy engine"
    with tempfile.TemporaryDirectory() as folder:
        code = Path(folder) / "kernel.ptx"
        code.write_text(built.asm["ptx"])
        command = [knobs.nvidia.ptxas.path, "-v", "--gpu-name=sm_90a", str(code), "-o", str(code.with_suffix(".cubin"))]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    registers, spilled = re.search(r"Used (\d+) registers", text), re.search(r"(\d+) bytes spill stores", text)
    assert registers is not None
    assert spilled is not None
    return int(registers[1]), int(spilled[1]), built.metadata.shared


def main() -> None:
    for entry in _entries():
        if entry.arch != 90:
            continue
        for store in (False, True):
            registers, spilled, shared = report(entry.config, store=store)
            print(f"{entry.config} store={store}: {registers} registers, {spilled} spilled, {shared} shared")
            assert spilled == 0
            assert shared <= SHARED_BYTES


if __name__ == "__main__":
    main()
