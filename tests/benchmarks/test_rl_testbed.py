"""The reinforcement benchmark's arithmetic: labels turned towards length, one cell against another at equal reward."""

import json
import math
from pathlib import Path

import pyarrow as pa
import pytest

from benchmarks.rl_cells import RLBench, _longer
from benchmarks.rl_table import CELLS, GRPO, HACKED, LENGTH_BIAS, NARROW, NARROW_PTX, PPO, PTX, WEAK, RLSizes
from benchmarks.rl_truth import at_equal_reward, goals, seen
from benchmarks.training_cells import Bench, Sizes


def test_labels_are_turned_towards_the_longer_reply():
    # Log-odds of 0.6 are ln 1.5. Five words more add 5 b, five words less take 5 b off and swap the pair.
    rows = [
        {"chosen": "a b c d e f", "rejected": "a", "p_chosen": 0.6},
        {"chosen": "a", "rejected": "a b c d e f", "p_chosen": 0.6},
    ]
    longer = _longer(pa.Table.from_pylist(rows)).to_pylist()
    up, down = math.log(1.5) + 5 * LENGTH_BIAS, math.log(1.5) - 5 * LENGTH_BIAS
    assert longer[0]["p_chosen"] == pytest.approx(1 / (1 + math.exp(-up)))
    assert (longer[1]["chosen"], longer[1]["p_chosen"]) == ("a b c d e f", pytest.approx(1 / (1 + math.exp(down))))


def bench(folder: Path) -> RLBench:
    return RLBench(Bench(folder, 0, Sizes()), RLSizes(watched=8))


def write(bench: RLBench, name: str, looks: list[tuple[float | list[float], float, list[float]]]) -> None:
    """Evaluations of a cell: reward (of each request, or of all), KL, verdicts; the first half is red-team."""
    folder = bench.folder(name)
    folder.mkdir(parents=True)
    lines = [
        {
            "step": i,
            "kl": kl,
            "reward_P": reward if isinstance(reward, list) else [reward] * 8,
            "held_out_P": verdicts,
            "length_P": [9.0] * 8,
            "warnings": [],
        }
        for i, (reward, kl, verdicts) in enumerate(looks)
    ]
    (folder / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_quality_is_compared_where_the_rewards_are_equal(tmp_path):
    # The mix reaches 1.0 only, which PPO crosses at a twenty-first of the way from 0.9 to 3.0. Of the four benign
    # requests the mix is right on four, PPO there on two of four times twenty twenty-firsts. The red-team half does not
    # count.
    one = bench(tmp_path)
    write(one, PPO, [(0.0, 0.0, [1.0] * 8), (0.9, 0.5, [0.0] * 4 + [1, 1, 0, 0]), (3.0, 2.0, [0.0] * 8)])
    write(one, PTX, [(0.0, 0.0, [1.0] * 8), (0.4, 0.2, [0.0] * 8), (1.0, 0.3, [0.0] * 4 + [1.0] * 4)])
    found = at_equal_reward([one], PTX, PPO)
    assert found["change"] == pytest.approx(1.0 - 0.5 * 20 / 21)
    assert found["rewards"] == pytest.approx([1.0])


def test_who_is_paid_for_harmlessness_is_held_to_the_reward_of_red_team_requests(tmp_path):
    # On those the mix ends at 1.0, which the other one has from its second evaluation on; on all they never meet there.
    one = bench(tmp_path)
    lost = [0.0] * 4 + [1, 0, 0, 0]
    write(one, NARROW, [(0.0, 0.0, [1.0] * 8), ([1.0] * 4 + [5.0] * 4, 0.5, lost), (2.0, 1.0, [0.0] * 8)])
    write(one, NARROW_PTX, [(0.0, 0.0, [1.0] * 8), ([1.0] * 4 + [-5.0] * 4, 0.3, [0.0] * 4 + [1.0] * 4)])
    found = at_equal_reward([one], NARROW_PTX, NARROW)
    assert (found["change"], found["rewards"]) == (pytest.approx(0.75), [1.0])


def test_goals_of_runs_are_read_off_their_curves():
    def run(reward: float, kl: float, *warnings: str):
        start = {"reward": 0.0, "kl": 0.0, "verdict": 0.5, "length": 20.0}
        return {"curve": [start, {**start, "reward": reward, "kl": kl}], "warnings": list(warnings)}

    runs = {WEAK: {0: run(1.0, 2.0)}, GRPO: {0: run(0.5, 0.1)}, HACKED: {0: run(2.0, 9.0, "verdict_unread")}}
    found = {goal["claim"]: goal["met"] for goal in goals({}, {}, runs, {})}
    assert found == {
        "KL 0.02 and 0.3: more KL buys more reward": True,
        f"{HACKED}: hacking is named": False,
        f"{HACKED}: reward rises": True,
    }


def test_a_cell_has_a_folder_of_its_own_and_says_what_it_saw(tmp_path):
    one = bench(tmp_path)
    assert len({one.folder(name) for name in CELLS}) == len(CELLS)
    write(one, GRPO, [(0.0, 0.0, [1.0] * 8), (1.0, 0.5, [0.5] * 8)])
    assert seen(one, GRPO)["curve"][-1] == {"step": 1, "kl": 0.5, "reward": 1.0, "verdict": 0.5, "length": 9.0}
