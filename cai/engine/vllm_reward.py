"""A reward model in vLLM's pooling runner: whole conversations in, one raw number each out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cai.engine.files import find_model
from cai.engine.vllm_start import check_installed
from cai.errors import InputError

CPU_GIB, GPU_GIB = 0.25, 2.0
"""Memory for keys and values: nothing is kept longer than a prefix is shared, so little will do."""
KIND = "ForSequenceClassification"


class VllmReward:
    """A sequence classifier with one label, read at the last token. Raises InputError where vLLM cannot run it."""

    def __init__(self, folder: Path) -> None:
        check_installed()
        from vllm import LLM, PoolingParams  # pyright: ignore[reportMissingImports]
        from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]

        files = find_model(str(folder))
        architectures = [str(name) for name in files.config.get("architectures") or [] if str(name).endswith(KIND)]
        if not architectures:
            raise InputError(f"{folder} is no sequence classifier", "give the folder of a `cai train reward`")
        on_cpu = bool(current_platform.is_cpu())
        own: dict[str, Any] = {"dtype": "auto"}
        if on_cpu:
            os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
            own = {"dtype": "float32", "block_size": 32, "enforce_eager": True}
        try:
            self._model = LLM(
                model=str(files.folder),
                runner="pooling",
                kv_cache_memory_bytes=int((CPU_GIB if on_cpu else GPU_GIB) * 2**30),
                use_tqdm_on_load=False,
                seed=0,
                **own,
            )
        except (ValueError, RuntimeError, MemoryError) as error:
            what = f"vLLM cannot run the reward model {folder}: {str(error).strip().splitlines()[0]}"
            raise InputError(what, "score in transformers, the default") from error
        # By default a sigmoid would be applied.
        self._raw = PoolingParams(use_activation=False)

    def rewards_of(self, sequences: Sequence[Sequence[int]]) -> list[float]:
        """The raw reward of each sequence of token ids, at its last token."""
        asked: list[Any] = [{"prompt_token_ids": list(ids)} for ids in sequences]
        told = self._model.classify(asked, pooling_params=self._raw, use_tqdm=False)
        return [float(one.outputs.probs[0]) for one in told]
