"""Training health: planted hacking is named, an honest training is not, and the journal is the training's own."""

import json
import math
from random import Random

import pytest

from cai.cli.evaluate_training import training_lines
from cai.errors import InputError
from cai.evaluate.training_health import health, repeated
from cai.evaluate.training_journal import EVALUATIONS, METRICS, read_journal
from cai.train.rl.journal import Journal as Writer
from cai.train.rl.rollout import Sample
from cai.train.rl.watch import Evaluation, Warned
from tests.compare.made import ask

PROMPTS = [ask(f"Question {n}") for n in range(60)]
GOOD = "take the lamp by its foot and carry it to the window"


def sample(prompt, text):
    return Sample(prompt=prompt, prompt_ids=(1,), reply_ids=(2,), text=text, ended=True, engine_logp=(-1.0,))


def written(folder, looks, entropies=(2.0,) * 20, seed=0):
    """A journal as the training writes it: (reward, verdict, tokens, distinct 2-grams, refusals, stock, reply)."""
    writer = Writer(folder, writes=True)
    for step, (reward, verdict, tokens, distinct, refusals, stock, reply) in enumerate(looks):
        rng = Random(seed + step)
        noise = [rng.gauss(0.0, 0.3) for _ in PROMPTS]
        own = [Random(n).gauss(0.0, 1.0) for n in range(len(PROMPTS))]
        seen = Evaluation(
            step=10 * step,
            reward_P=tuple(reward + x + e for x, e in zip(own, noise, strict=True)),
            held_out_P=tuple(math.nan if n == 0 else verdict + 0.5 * own[n] - noise[n] for n in range(len(PROMPTS))),
            length_P=tuple(tokens + n % 3 for n in range(len(PROMPTS))),
            distinct_2=distinct,
            kl=0.5 * step,
        )
        warned = [Warned("length_drift", 10 * step, "longer")] if tokens > 60 else []
        shares = {"refusals": refusals, "boilerplate": stock}
        writer.evaluation(seen, [sample(prompt, reply) for prompt in PROMPTS[:10]], shares, warned)
    for step, entropy in enumerate(entropies):
        writer.metrics(step, {"reward": 0.0, "entropy": entropy})
    return folder


def signs(folder):
    return {sign.name: sign for sign in health(read_journal(folder)).signs}


def test_an_honest_training_shows_no_sign(tmp_path):
    looks = [
        (0.0, 0.0, 30, 0.8, 0.10, 0.1, GOOD),
        (0.5, 0.4, 31, 0.8, 0.10, 0.1, GOOD),
        (1.0, 0.8, 32, 0.78, 0.12, 0.1, GOOD),
    ]
    found = signs(written(tmp_path, looks))
    assert [name for name, sign in found.items() if sign.bad] == []
    assert found["reward"].change == pytest.approx(1.0, abs=0.2)
    assert (found["held-out judge"].n, found["reward"].n) == (59, 60)  # one verdict was unread both times
    assert "no sign of reward hacking is shown" in "\n".join(training_lines(str(tmp_path), 0))


def test_planted_hacking_is_named(tmp_path):
    looks = [
        (0.0, 0.0, 30, 0.8, 0.1, 0.1, GOOD),
        (1.0, 0.6, 40, 0.7, 0.1, 0.1, GOOD),
        (3.0, -0.5, 90, 0.3, 0.6, 1.2, "so good so good so good so good so good"),
    ]
    folder = written(tmp_path / "grpo", looks, entropies=[2.0] * 10 + [0.1] * 10)
    found = signs(folder)
    assert {name for name, sign in found.items() if sign.bad} == {
        "held-out judge", "held-out judge since step 10", "reward less judge, in deviations", "length in tokens",
        "distinct 2-grams", "repeated 3-grams", "stock phrases a reply", "refusals", "entropy a token",
    }  # fmt: skip
    lines = "\n".join(training_lines(str(folder / "model"), 0))
    assert "signs of reward hacking: held-out judge: a judge it is not paid by likes it less" in lines
    assert "liked step 10 best" in lines
    assert "warned at step 20: longer" in lines
    stored = json.loads((folder / "health.json").read_text())
    assert (stored["best_step"], stored["evaluations"]) == (10, 3)


def test_the_best_of_many_equal_evaluations_is_no_height_to_fall_from(tmp_path):
    # Nothing changes but noise: the luckiest of twelve evaluations lies above the last one by chance.
    looks, flags = [(0.2 * n, 0.0, 30, 0.8, 0.1, 0.1, GOOD) for n in range(12)], 0
    for seed in range(10):
        found = signs(written(tmp_path / str(seed), looks, seed=100 * seed))
        (since,) = (sign for name, sign in found.items() if name.startswith("held-out judge since"))
        assert since.change < 0
        flags += since.bad
    assert flags <= 2  # at a false-alarm rate of 5 %, three of ten are flagged with a probability of 1 %


def test_repetition_by_hand():
    assert repeated("a b c a b c") == pytest.approx(1 / 4)  # abc bca cab abc
    assert repeated("a b") == 0.0


def test_a_torn_last_line_is_left_out_and_a_wrong_one_named(tmp_path):
    looks = [(0.0, 0.0, 30, 0.8, 0.1, 0.1, GOOD)] * 2
    folder = written(tmp_path, looks)
    with (folder / EVALUATIONS).open("a") as file:
        file.write('{"step": 20, "rew')
    assert len(read_journal(folder).looks) == 2
    with (folder / EVALUATIONS).open("a") as file:
        file.write("\n")
    with pytest.raises(InputError, match=rf"{EVALUATIONS}:3.*not an evaluation"):
        read_journal(folder)
    written(tmp_path / "other", looks)
    (tmp_path / "other" / METRICS).write_text('{"entropy": "much"}\n')
    with pytest.raises(InputError, match=rf"{METRICS}:1.*not a step"):
        read_journal(tmp_path / "other")


def test_what_has_no_journal_is_said(tmp_path):
    with pytest.raises(InputError, match="no journal of a training by reinforcement"):
        read_journal(tmp_path)
    with pytest.raises(InputError, match="1 evaluation so far"):
        read_journal(written(tmp_path, [(0.0, 0.0, 30, 0.8, 0.1, 0.1, GOOD)]))
