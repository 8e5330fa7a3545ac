"""Starts vLLM on a checked model: is it there, in a version we know, on devices that do, with memory enough."""

from __future__ import annotations

import importlib.util
import os
from typing import TYPE_CHECKING, Any, Protocol

from cai.engine.files import ModelFiles
from cai.errors import InputError, Where

if TYPE_CHECKING:
    from cai.config.engine import EngineSettings, VllmSettings

SUPPORTED = ((0, 25), (0, 33))
"""The oldest version that works, and the first one that was not tried."""
SEQUENCES = 256
QUIET = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
    "VLLM_CONFIGURE_LOGGING": "1",
}


class Platform(Protocol):
    """What is asked of vLLM's platform."""

    def is_unspecified(self) -> bool: ...
    def is_cpu(self) -> bool: ...


def check_installed() -> None:
    """Raise InputError, with the command to run, unless a supported vLLM can be imported."""
    if importlib.util.find_spec("vllm") is None:
        raise InputError("vLLM is not installed", "on a GPU: pip install 'cai[vllm]'; on a CPU: make vllm")
    os.environ.update({name: os.environ.get(name, value) for name, value in QUIET.items()})
    import vllm  # pyright: ignore[reportMissingImports]

    check_version(vllm.__version__)


def check_version(version: str) -> None:
    """Raise InputError for a version outside the supported range."""
    found = tuple(int(part) for part in version.split("+")[0].split(".")[:2])
    if not SUPPORTED[0] <= found < SUPPORTED[1]:
        low, high = (".".join(map(str, part)) for part in SUPPORTED)
        raise InputError(f"vLLM {version} is not supported", f"install a version from {low} to below {high}")


def check_devices(platform: Platform, gpus: int, own: VllmSettings) -> None:
    """Raise InputError where this vLLM finds no device, or the settings ask for more than the `gpus` there are."""
    if platform.is_unspecified():
        raise InputError(
            "vLLM finds no GPU here, and this build of it does not run on a CPU",
            "install the CPU build (make vllm), or use --engine transformers, or --engine openai with a server",
        )
    if platform.is_cpu():
        if own.sleep:
            raise InputError(
                "sleep mode is for GPUs: on a CPU it frees nothing", "leave it off", Where("engine.vllm.sleep")
            )
        return
    if own.processes > gpus:
        raise InputError(
            f"{own.tensor_parallel} x {own.data_parallel} GPUs are asked for, there are {gpus}",
            "lower engine.vllm.tensor_parallel or data_parallel; over several machines use --engine ray:vllm",
            Where("engine.vllm"),
        )


def engine_arguments(files: ModelFiles, spec: EngineSettings, length: int | None) -> dict[str, Any]:
    """vLLM's arguments for a checked model that generates. Raises as `check_devices`."""
    import torch
    from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]

    own, on_cpu = spec.vllm, bool(current_platform.is_cpu())
    check_devices(current_platform, torch.accelerator.device_count(), own)
    eager = on_cpu if own.eager is None else own.eager
    if on_cpu and eager:
        os.environ.setdefault("TORCH_COMPILE_DISABLE", "1")
    if own.processes > 1:
        # Threads of all processes would be bound to the same cores.
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "nobind")
    gib = own.kv_cache_gib or (0.25 if on_cpu else None)
    loras = max(own.max_loras, 1 if spec.adapter else 0)
    arguments: dict[str, Any] = {
        "model": str(files.folder),
        "dtype": spec.dtype or ("float32" if on_cpu else "auto"),
        "max_model_len": length,
        "max_num_seqs": spec.batch_size or SEQUENCES,
        "scheduling_policy": "priority",
        "enforce_eager": eager,
        "gpu_memory_utilization": own.gpu_memory_utilization,
        "enable_sleep_mode": own.sleep,
        "tensor_parallel_size": own.tensor_parallel,
        "data_parallel_size": own.data_parallel,
        "kv_cache_memory_bytes": None if gib is None else int(gib * 2**30),
        "enable_prefix_caching": True,
        "skip_tokenizer_init": True,
        "logprobs_mode": "processed_logprobs",
        "generation_config": "vllm",
        "disable_log_stats": True,
        "use_tqdm_on_load": False,
        "seed": 0,
    }
    if on_cpu:
        # Multiples of 32 are allowed; the smallest shares the most prefixes. A prompt cut over two steps would make
        # vLLM 0.32 rewind its request's random generator, which CPU generators cannot do: prompts are never cut.
        arguments |= {
            "block_size": 32,
            "enable_chunked_prefill": False,
            "max_num_batched_tokens": max(2048, length or 0),
        }
    if loras:
        # On a CPU adapter and base model in one batch come out wrong without a slot to spare.
        arguments |= {"enable_lora": True, "max_loras": loras + 1, "max_lora_rank": own.max_lora_rank}
    return arguments


def why_not(error: Exception, name: str) -> InputError:
    """What vLLM's refusal to start means, with the settings to change where memory does not do."""
    from vllm.platforms import current_platform  # pyright: ignore[reportMissingImports]

    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    memory = "lower engine.context_length or engine.batch_size, or raise engine.vllm.kv_cache_gib"
    memory += "" if current_platform.is_cpu() else " or engine.vllm.gpu_memory_utilization"
    if any(word in str(error).lower() for word in ("memory", "kv cache", "allocate")):
        remedy = memory
    elif "initialization failed" in reason:
        # What happened in another process is printed by that process and told nowhere else.
        remedy = f"its process says why, above; where that is memory, {memory}"
    else:
        remedy = "see what vLLM says"
    return InputError(f"vLLM cannot run {name}: {reason}", remedy)
