"""A small world whose truth is known, an oracle that reads replies in it, and a tiny model trained on it.

`cai.testbed.world` draws requests, `cai.testbed.oracle` reads replies, `cai.testbed.pretraining` made `TINY`.
"""

from pathlib import Path

TINY = Path(__file__).parent / "tiny"
"""The tiny model's folder: config, weights, tokenizer with chat template, card."""

__all__ = ["TINY"]
