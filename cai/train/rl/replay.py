"""Earlier rounds' preferences, kept in mind: what a round's reward model learns beside its own new pairs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cai.seeds import seed_for
from cai.store.files import replacing


def write_replay(earlier: Sequence[Path], target: Path, *, share: float, seed: int) -> int:
    """Write the pairs of about `share` of the earlier files' prompts to `target`; returns how many pairs.

    A prompt is kept or not by its own id and the seed, with all its pairs, so the draw does not depend on the order.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    kept = list[pa.Table]()
    for path in earlier:
        table = pq.read_table(path)
        ids = table.column("prompt_id").to_pylist()
        kept.append(table.filter(pa.array([seed_for(seed, "replay", i) < share * 2**63 for i in ids], pa.bool_())))
    whole = pa.concat_tables(kept)
    with replacing(target) as file:
        pq.write_table(whole, file)
    return whole.num_rows
