"""Prompts from a user's files: JSONL, CSV, Parquet, text, a Hugging Face dataset, HH-RLHF transcripts.

`PromptFile` is the way in. It is read twice: `check` before any model loads, then once more, streamed, by the stage.
"""

from cai.inputs.reader import PromptFile, Tally

__all__ = ["PromptFile", "Tally"]
