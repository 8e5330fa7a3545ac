"""Engines: the models behind drafts, critiques, revisions, judging and rollouts, all behind one protocol.

A stage awaits `Engine.generate` and `Engine.option_logprobs` from as many chains as it likes; the engine batches.
`transformers` is the embedded default, `vllm` the fast one, `openai` any compatible server, `scripted` answers from a
function in tests. Only `cai.cli` picks one; no engine's library is imported before it is picked.
"""

from cai.engine.protocol import (
    Completion,
    ContextTooLong,
    Engine,
    EngineDown,
    EngineFault,
    OptionScores,
    OptionsUnsupported,
    RecordFault,
    Sampling,
    TrainableEngine,
    Turn,
)

__all__ = [
    "Completion",
    "ContextTooLong",
    "Engine",
    "EngineDown",
    "EngineFault",
    "OptionScores",
    "OptionsUnsupported",
    "RecordFault",
    "Sampling",
    "TrainableEngine",
    "Turn",
]
