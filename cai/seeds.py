"""All randomness comes from here: a seed belongs to a record, not to a loop, a shard or a process."""

from __future__ import annotations

import hashlib
import json

# Made once: `json.dumps` with these options would make one each time, and a chain asks for a dozen seeds.
_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


def seed_for(run_seed: int, *parts: str | int) -> int:
    """A seed in [0, 2**63) that depends only on the run's seed and on `parts` (stage, record id, round …).

    The same parts give the same seed on every machine, in any order of work, after any resume.
    """
    text = _ENCODER.encode([run_seed, *parts])
    return int.from_bytes(hashlib.sha256(text.encode("ascii")).digest()[:8], "big") >> 1


def content_id(*parts: object) -> str:
    """A 32-character hex id of the canonical JSON of `parts`: sorted keys, no spaces, UTF-8."""
    text = json.dumps(parts, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
