"""What later rounds keep of earlier ones' preferences."""

import pyarrow as pa
import pyarrow.parquet as pq

from cai.train.rl.replay import write_replay


def pairs(path, prompts):
    rows = {"prompt_id": [p for p in prompts for _ in range(3)], "p_chosen": [0.5, 0.7, 0.9] * len(prompts)}
    pq.write_table(pa.table(rows), path)
    return path


def test_all_earlier_pairs_or_a_share_of_the_prompts_with_all_their_pairs(tmp_path):
    files = [pairs(tmp_path / f"{n}.parquet", [f"{n}-{i}" for i in range(100)]) for n in (1, 2)]
    assert write_replay(files, tmp_path / "all.parquet", share=1.0, seed=0) == 600
    count = write_replay(files, tmp_path / "half.parquet", share=0.5, seed=0)
    kept = pq.read_table(tmp_path / "half.parquet").column("prompt_id").to_pylist()
    assert count == len(kept) == 3 * len(set(kept))
    assert 75 < len(set(kept)) < 125
    again = write_replay(files[::-1], tmp_path / "again.parquet", share=0.5, seed=0)
    assert again == count
    assert set(pq.read_table(tmp_path / "again.parquet").column("prompt_id").to_pylist()) == set(kept)
