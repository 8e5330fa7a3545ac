"""Settings of an engine: which model, where it runs, how much it may take."""

from __future__ import annotations

from typing import Any, Literal, cast

from pydantic import Field, model_validator

from cai.config.base import Settings

EngineKind = Literal["transformers", "vllm", "openai", "ray"]


class OpenAISettings(Settings):
    """How to reach and how long to trust an OpenAI-compatible server. The key comes from the environment only."""

    base_url: str = Field(
        default="https://api.openai.com/v1", description="Address of the server, up to and including /v1."
    )
    api: Literal["chat", "completions"] = Field(
        default="chat", description="chat sends messages; completions sends the token ids that `template` gives."
    )
    template: str = Field(
        default="", description="Folder or hub name whose tokenizer and chat template serve `api: completions`."
    )
    key_variable: str = Field(
        default="OPENAI_API_KEY", description="Name of the environment variable that holds the key."
    )
    timeout: float = Field(
        default=120.0, gt=0, description="Most seconds one attempt may take, from sending to the last byte."
    )
    attempts: int = Field(default=6, ge=1, description="Attempts at one request before its record is set aside.")
    first_wait: float = Field(
        default=0.5, ge=0, description="Most seconds before the first retry; doubled for each further one."
    )
    longest_wait: float = Field(
        default=120.0,
        ge=0,
        description="Most seconds between retries; a longer Retry-After stops the run, resumable.",
    )
    retry_share: float = Field(
        default=1.0,
        ge=0,
        description="Retries allowed per request sent in the whole run, beyond the first hundred retries.",
    )
    breaker: int = Field(
        default=20, ge=1, description="Faults in a row, over all requests, after which the server may count as down."
    )
    breaker_seconds: float = Field(
        default=30.0, ge=0, description="It counts as down if besides nothing succeeded for this many seconds."
    )
    limit_name: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="What the server calls the most tokens of a reply (chat)."
    )
    top_logprobs: int = Field(
        default=20, ge=0, le=100, description="Log-probs asked per position; 0 if the server has none."
    )
    structured: Literal["none", "vllm", "json"] = Field(
        default="none",
        description="How the server is held to one of several answers (judging in words): vllm (structured_outputs), "
        "json (a JSON schema), or none.",
    )
    seed: bool = Field(
        default=True, description="Send the record's seed; switch off for servers that refuse the parameter."
    )
    priority: bool = Field(
        default=False,
        description="Ask that the conversation with the most turns goes first, of "
        "`vllm serve --scheduling-policy priority`.",
    )


class VllmSettings(Settings):
    """What the in-process vLLM engine may take."""

    kv_cache_gib: float | None = Field(
        default=None,
        gt=0,
        description="Memory of the KV cache in GiB; by default 0.25 on a CPU and vLLM's choice on a GPU.",
    )
    gpu_memory_utilization: float = Field(
        default=0.9, gt=0, le=1, description="Share of the GPU's memory that vLLM may take."
    )
    max_loras: int = Field(default=0, ge=0, description="LoRA adapters that may be switched between per request.")
    max_lora_rank: int = Field(default=16, ge=1, description="Highest rank of such an adapter.")
    tensor_parallel: int = Field(default=1, ge=1, description="GPUs over which each layer is split.")
    data_parallel: int = Field(
        default=1, ge=1, description="Copies of the model on this machine, each on GPUs of its own, behind one engine."
    )
    async_llm: bool | None = Field(
        default=None,
        description="Run the engine in processes of its own (AsyncLLM); by default only where it takes several.",
    )
    sleep: bool = Field(
        default=False,
        description="Lend the GPU's memory to a training while it updates: for `cai train ppo` and its kin on one GPU.",
    )
    eager: bool | None = Field(
        default=None,
        description="Skip compilation and CUDA graphs: starts faster, runs slower. By default true on a CPU.",
    )

    @property
    def processes(self) -> int:
        """Processes, and on GPUs devices, that the engine takes."""
        return self.tensor_parallel * self.data_parallel

    @property
    def in_processes(self) -> bool:
        """Whether the engine runs outside this process."""
        return self.processes > 1 if self.async_llm is None else self.async_llm

    @model_validator(mode="after")
    def _check_processes(self) -> VllmSettings:
        if self.async_llm is False and self.processes > 1:
            raise ValueError("several processes need async_llm: leave it out")
        return self


class RaySettings(Settings):
    """How many engines a Ray cluster runs for us, and what each may take. Ray places them and grows the cluster."""

    inner: Literal["transformers", "vllm"] = Field(
        default="transformers", description="The engine each actor holds; `--engine ray:vllm` sets it too."
    )
    actors: int = Field(default=2, ge=1, description="Engines that run at once, each with the whole model.")
    address: str = Field(
        default="",
        description="Cluster to join: `auto`, HOST:PORT, `local` for one on this machine; by default RAY_ADDRESS, "
        "or one that runs here, or a local one.",
    )
    cpus: float = Field(default=1.0, ge=0, description="CPUs that Ray sets aside for an actor.")
    gpus: float | None = Field(
        default=None,
        ge=0,
        description="GPUs for an actor; by default as many as `engine.vllm` takes where the cluster has GPUs, else 0.",
    )
    resources: dict[str, float] = Field(
        default={}, description="Ray's custom resources for an actor, such as {accelerator_type:H100: 0.001}."
    )
    wait: float = Field(
        default=600.0, gt=0, description="Most seconds without any running actor; then the run stops, resumable."
    )
    direct: bool = Field(
        default=True,
        description="Send requests over connections of our own, at a tenth of the processor time; false: as Ray's "
        "messages, where machines can reach each other's Ray ports only.",
    )


class EngineSettings(Settings):
    """One model and the engine that runs it."""

    kind: EngineKind = Field(
        default="transformers",
        description="transformers (embedded), vllm (fast), openai (any server), ray or ray:vllm (many).",
    )
    model: str = Field(default="tiny", description="`tiny` (built in), a model folder, a hub name, or a served name.")
    revision: str = Field(default="", description="Revision of a hub name; the default branch if empty.")
    adapter: str = Field(default="", description="Folder of a LoRA adapter that is applied to the model.")
    dtype: Literal["float32", "bfloat16", "float16"] | None = Field(
        default=None, description="Number format; by default float32 on a CPU and the checkpoint's own on a GPU."
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or cuda:N (transformers).")
    context_length: int | None = Field(
        default=None, ge=16, description="Most tokens of prompt and reply together; by default what the model states."
    )
    batch_size: int | None = Field(
        default=None, ge=1, description="Conversations that generate at once; by default 32 (transformers), 256 (vllm)."
    )
    kv_cache_gib: float = Field(
        default=2.0, gt=0, description="Memory for keys and values, running and remembered, in GiB (transformers)."
    )
    concurrency: int | None = Field(
        default=None, ge=1, description="Requests in flight at a time; by default what suits the engine."
    )
    openai: OpenAISettings = Field(default=OpenAISettings(), description="Settings of the `openai` kind.")
    vllm: VllmSettings = Field(default=VllmSettings(), description="Settings of the `vllm` kind.")

    ray: RaySettings = Field(default=RaySettings(), description="Settings of the `ray` kind.")

    @model_validator(mode="before")
    @classmethod
    def _read_inner(cls, value: Any) -> Any:
        """`kind: ray:vllm` is short for kind ray with that inner engine."""
        given = _mapping(value)
        kind, own = given.get("kind"), given.get("ray", {})
        if kind not in ("ray:transformers", "ray:vllm") or not isinstance(own, dict):
            return value
        return {**given, "kind": "ray", "ray": {**cast(dict[str, Any], own), "inner": kind.removeprefix("ray:")}}

    @property
    def shown(self) -> str:
        """What rows and reports call the model."""
        return f"{self.model} + {self.adapter}" if self.adapter else self.model

    @property
    def inner(self) -> EngineSettings:
        """What runs the model: these settings, or those of each actor."""
        return self.model_copy(update={"kind": self.ray.inner}) if self.kind == "ray" else self

    @property
    def in_flight(self) -> int:
        """Chains to keep going at a time: twice the largest batch, so that the engine never waits for a chain."""
        if self.kind == "ray":
            return self.concurrency or self.ray.actors * self.inner.in_flight
        copies = self.vllm.data_parallel if self.kind == "vllm" else 1
        return self.concurrency or 2 * copies * (self.batch_size or (256 if self.kind == "vllm" else 32))


def _mapping(value: Any) -> dict[str, Any]:
    """The value where it is a mapping, else an empty one: what is wrong with it is said later."""
    return cast(dict[str, Any], value) if isinstance(value, dict) else {}
