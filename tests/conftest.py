"""Set before anything imports torch or triton: no network, quiet tokenizers, interpreted kernels without a GPU."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


if not _has_gpu():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture(scope="session")
def public_data() -> Path:
    """The folder of public data sets: `CAI_DATA`, else `../shared/data` beside the checkout; skips without one."""
    folder = Path(os.environ.get("CAI_DATA") or Path(__file__).parents[2] / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("no folder of public data sets: set CAI_DATA")
    return folder
