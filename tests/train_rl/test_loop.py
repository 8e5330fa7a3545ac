"""The loop on a bandit whose optimum is known, and what happens when it is cut up, killed or fed nonsense."""

from __future__ import annotations

import asyncio
import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch

from cai.config.rl import KL, PPO, RewardTerms, RLSettings, Rollout, Update, Watch
from cai.engine.protocol import Completion, EngineDown
from cai.records import Usage
from cai.store import Interrupted
from cai.train.rl.experience import empty_experience
from cai.train.rl.loop import Loop, Task
from cai.train.rl.policy import Reference
from cai.train.rl.rewards import RewardFault, RewardSum, missing_end_term
from cai.train.rl.rollout import Sample, roll_out
from cai.train.rl.update import _gradients, score
from tests.train_rl.small import (
    LETTERS,
    LetterPreference,
    LetterReward,
    SmallEngine,
    learner_for,
    prompt,
    small_model,
)

TABLE = {"a": 0.0, "b": 0.2, "c": 1.0, "d": 0.4, "e": -0.5}
METHODS = ("ppo", "grpo", "rloo", "spo", "online-dpo")


def settings(steps: int = 40, **changes) -> RLSettings:
    return RLSettings(
        steps=steps,
        save_every=changes.pop("save_every", 1000),
        rollout=Rollout(prompts_per_step=6, replies=4, max_tokens=1),
        kl=changes.pop("kl", KL(coefficient=0.0)),
        update=changes.pop("update", Update(learning_rate=1e-2, micro_prompts=3, epochs=2)),
        watch=changes.pop("watch", Watch(every=1000, prompts=2)),
        **changes,
    )


def task(name: str = "grpo", reward=None, **changes) -> Task:
    source = reward or LetterReward(TABLE)
    return Task(
        prompts=[prompt(letter) for letter in "abcde"],
        watch_prompts=[prompt("ab"), prompt("cd")],
        rewards=RewardSum(((source, 1.0),)),
        held_out=LetterReward(TABLE, "held-out"),
        preference=LetterPreference(TABLE) if name in ("spo",) else None,
        **changes,
    )


def run(
    name,
    folder,
    options,
    work=None,
    seed=0,
    on_step=lambda step, metrics: None,
    engine=None,
    model=None,
    warn=lambda warned: None,
):
    torch.set_num_threads(1)
    learner = learner_for(name, options, seed=seed, model=model)
    loop = Loop(learner, engine or SmallEngine(), work or task(name), options, folder)
    return loop, loop.go(on_step, warn)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_every_method_finds_the_best_arm(name, seed, tmp_path):
    options = settings(30, seed=seed)
    if name == "online-dpo":
        options = options.model_copy(
            update={"online_dpo": options.online_dpo.model_copy(update={"preference_scale": 8.0})}
        )
    shares = []
    _, reason = run(name, tmp_path, options, seed=seed, on_step=lambda s, m: shares.append(m["reward"]))
    assert reason == "done"
    assert sum(shares[-5:]) / 5 > 0.8, shares[-5:]
    assert shares[0] < 0.5


def read_metrics(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if "seconds" not in k} for line in lines]


@pytest.mark.parametrize("name", ["ppo", "grpo"])
def test_a_killed_run_goes_on_with_the_same_curve(name, tmp_path):
    options = settings(8, save_every=3, watch=Watch(every=2, prompts=2))
    run(name, tmp_path / "whole", options)

    class Kill(BaseException):
        pass

    def die(step, metrics):
        if step == 5:
            raise Kill

    with pytest.raises(Kill):
        run(name, tmp_path / "cut", options, on_step=die)
    assert len(read_metrics(tmp_path / "cut")) == 5
    run(name, tmp_path / "cut", options)
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")
    assert (tmp_path / "cut/evaluations.jsonl").read_text() == (tmp_path / "whole/evaluations.jsonl").read_text()


def test_ctrl_c_ends_after_the_step_with_exit_130_and_the_same_curve_later(tmp_path):
    options = settings(5)
    run("grpo", tmp_path / "whole", options)

    def interrupt(step, metrics):
        if step == 2:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="after step 2") as stopped:
        run("grpo", tmp_path / "cut", options, on_step=interrupt)
    assert stopped.value.exit_code == 130
    assert len(read_metrics(tmp_path / "cut")) == 2
    assert run("grpo", tmp_path / "cut", options)[1] == "done"
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")


class SharedGPU(SmallEngine):
    """Lends its memory to the trainer; it can be asked nothing meanwhile."""

    asleep = False
    rests = 0

    async def rest(self):
        self.asleep, self.rests = True, self.rests + 1

    async def wake(self):
        self.asleep = False

    async def generate(self, turns, sampling, *, prefill=""):
        assert not self.asleep
        return await super().generate(turns, sampling)

    async def update_weights(self, weights):
        assert not self.asleep
        await super().update_weights(weights)


def test_an_engine_on_the_same_gpu_rests_while_the_policy_learns(tmp_path):
    engine = SharedGPU()
    run("grpo", tmp_path / "shared", settings(3, watch=Watch(every=1, prompts=2)), engine=engine)
    assert engine.rests == 3
    run("grpo", tmp_path / "alone", settings(3, watch=Watch(every=1, prompts=2)))
    assert read_metrics(tmp_path / "shared") == read_metrics(tmp_path / "alone")


class DyingEngine(SmallEngine):
    """Draws 60 replies, then its process is gone."""

    drawn = 0

    async def generate(self, turns, sampling, *, prefill=""):
        self.drawn += 1
        if self.drawn > 60:
            raise EngineDown("the engine's process is gone")
        return await super().generate(turns, sampling)


def test_an_engine_that_dies_leaves_the_last_whole_step_to_go_on_from(tmp_path):
    # 2 watched replies, then 24 a step: the third step's draw meets the end.
    options = settings(4)
    run("grpo", tmp_path / "whole", options)
    with pytest.raises(EngineDown, match="in step 3: the engine's process is gone; the same command goes on"):
        run("grpo", tmp_path / "cut", options, engine=DyingEngine())
    assert [m["step"] for m in read_metrics(tmp_path / "cut")] == [1, 2]
    run("grpo", tmp_path / "cut", options)
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")


def test_a_separate_critic_learns_beside_the_policy_and_resumes(tmp_path):
    options = settings(6, ppo=PPO(critic="separate"), save_every=2)
    loop, _ = run("ppo", tmp_path / "whole", options)
    fresh = learner_for("ppo", options).policy
    assert loop.learner.policy.trunk is not None
    changed = [
        not torch.equal(new, old)
        for new, old in zip(loop.learner.policy.trunk.parameters(), fresh.trunk.parameters(), strict=True)
    ]
    assert any(changed)
    # 24 rewards of one token each are a noisy measure: the value is right on average before it is so at every step.
    explained = [m["explained_variance"] for m in read_metrics(tmp_path / "whole")]
    assert max(explained[1:]) > explained[0]

    class Kill(BaseException):
        pass

    def die(step, metrics):
        if step == 5:
            raise Kill

    with pytest.raises(Kill):
        run("ppo", tmp_path / "cut", options, on_step=die)
    run("ppo", tmp_path / "cut", options)
    assert read_metrics(tmp_path / "cut") == read_metrics(tmp_path / "whole")


def test_an_adapter_trains_against_its_own_base_and_the_engine_draws_from_both_merged(tmp_path):
    from peft import LoraConfig, get_peft_model

    def adapted():
        torch.manual_seed(3)
        return get_peft_model(small_model(0), LoraConfig(r=4, lora_alpha=32, target_modules="all-linear"))

    engine, options = SmallEngine(), settings(4, save_every=2)
    loop, _ = run("grpo", tmp_path / "whole", options, engine=engine, model=adapted())
    base = small_model(0).state_dict()
    under = loop.learner.policy.model.get_base_model().state_dict()
    for name, value in base.items():
        kept = under.get(name, under.get(name.replace(".weight", ".base_layer.weight")))
        assert torch.equal(kept, value), f"{name}: the frozen weights have moved"
    rows = read_metrics(tmp_path / "whole")
    assert rows[0]["kl"] == pytest.approx(0.0, abs=1e-6)
    assert abs(rows[-1]["kl"]) > 1e-4
    ids = torch.tensor([[2, 3, 4, 5]])
    with torch.no_grad():
        torch.testing.assert_close(engine._net(ids).logits, loop.learner.policy.model(ids).logits, atol=1e-5, rtol=1e-4)
    run("grpo", tmp_path / "cut", options.model_copy(update={"steps": 2}), model=adapted())
    run("grpo", tmp_path / "cut", options, model=adapted())
    assert read_metrics(tmp_path / "cut") == rows


def test_the_kl_can_be_measured_to_another_model_than_the_start():
    options = settings(1)
    learner = learner_for("grpo", options, seed=0)
    elsewhere = replace(learner, reference=Reference(learner.policy, small_model(7)))
    own, other = (score(one, empty_experience(ragged_samples(), 4), options) for one in (learner, elsewhere))
    assert torch.equal(own.ref_logp_BT, own.old_logp_BT)
    assert (other.ref_logp_BT - own.ref_logp_BT).abs().max() > 0.01


def ragged_samples():
    generator = torch.Generator().manual_seed(5)
    samples = []
    for p in ("a", "bcd", "ab", "e"):
        for _ in range(4):
            size = int(torch.randint(1, 6, (1,), generator=generator))
            ids = tuple(int(t) for t in torch.randint(3, 8, (size,), generator=generator))
            prompt_ids = SmallEngine().encode((), "") + tuple({v: k for k, v in LETTERS.items()}[c] for c in p)
            samples.append(Sample(prompt(p), prompt_ids, ids, "", False, (0.0,) * size))
    return samples


def experience_for(name, options, learner):
    generator = torch.Generator().manual_seed(6)
    e = score(learner, empty_experience(ragged_samples(), 4), options)
    noise = 0.3 * torch.randn(e.old_logp_BT.shape, generator=generator)
    rewards = torch.randn(len(e.samples), generator=generator)
    wins = torch.rand(len(e.samples) // 4, 4, 4, generator=generator) if name == "spo" else None
    e = replace(e, old_logp_BT=(e.old_logp_BT + noise) * e.mask_BT, reward_B=rewards, wins_GKK=wins)
    return learner.method.credit(e, 0.1)


@pytest.mark.parametrize("name", METHODS)
def test_gradients_do_not_depend_on_the_micro_batches(name):
    grads = []
    for micro in (1, 4):
        options = settings(1, update=Update(micro_prompts=micro), kl=KL(coefficient=0.1))
        learner = learner_for(name, options)
        e = experience_for(name, options, learner)
        _gradients(learner, e, 0.1, learner.method.count(e), options, 0)
        grads.append([p.grad.clone() for p in learner.policy.parameters() if p.grad is not None])
    assert grads[0]
    for one, whole in zip(*grads, strict=True):
        torch.testing.assert_close(one, whole, atol=2e-6, rtol=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_what_stands_in_the_padding_changes_nothing(name):
    options = settings(1, kl=KL(coefficient=0.1))
    grads = []
    for rubbish in (0.0, 7.0):
        learner = learner_for(name, options)
        e = experience_for(name, options, learner)
        outside = (1 - e.mask_BT) * rubbish
        e = replace(
            e,
            old_logp_BT=e.old_logp_BT - outside,
            ref_logp_BT=e.ref_logp_BT - outside,
            value_BT=e.value_BT + outside,
        )
        e = learner.method.credit(e, 0.1)
        _gradients(learner, e, 0.1, learner.method.count(e), options, 0)
        grads.append([p.grad.clone() for p in learner.policy.parameters() if p.grad is not None])
    for clean, dirty in zip(*grads, strict=True):
        torch.testing.assert_close(clean, dirty, atol=1e-6, rtol=1e-5)


def test_engine_and_trainer_agree_on_the_first_rollout(tmp_path):
    seen = []
    run("grpo", tmp_path, settings(1), on_step=lambda step, metrics: seen.append(metrics))
    assert seen[0]["parity_max"] < 1e-4


def test_an_unread_reward_leaves_its_group_out_and_is_counted(tmp_path):
    seen = []
    unread = LetterReward({**TABLE, "a": None, "b": None, "c": None, "d": None, "e": None, "": None, "?": None})
    loop, _ = run("grpo", tmp_path, settings(1), task(reward=unread), on_step=lambda s, m: seen.append(m))
    assert seen[0]["unread"] == 24
    assert seen[0]["left_out"] == 24
    assert seen[0]["updates"] == 0
    fresh = small_model(0).state_dict()
    assert all(torch.equal(v, fresh[k]) for k, v in loop.learner.policy.model.state_dict().items())


def test_groups_that_teach_nothing_are_counted_and_change_nothing(tmp_path):
    seen = []
    alike = LetterReward(dict.fromkeys([*TABLE, "", "?"], 0.5))
    loop, _ = run("grpo", tmp_path, settings(1), task(reward=alike), on_step=lambda s, m: seen.append(m))
    assert seen[0]["flat_groups"] == 6
    assert seen[0]["left_out"] == 0
    fresh = small_model(0).state_dict()
    assert all(torch.equal(v, fresh[k]) for k, v in loop.learner.policy.model.state_dict().items())


def test_a_prompt_that_is_drawn_twice_in_a_step_has_other_replies():
    class Echo(SmallEngine):
        async def generate(self, turns, sampling, *, prefill=""):
            return Completion(str(sampling.seed), "stop", Usage(calls=1), (3,), 0, (-1.0, -1.0))

    drawn = asyncio.run(
        roll_out(
            Echo(), [prompt("a"), prompt("b"), prompt("a")], replies=2, temperature=1.0, top_p=1.0, max_tokens=2,
            run_seed=0, step=0,
        )
    )  # fmt: skip
    assert len({sample.text for sample in drawn}) == 6


def test_a_reward_that_is_not_finite_stops_with_the_prompts(tmp_path):
    broken = LetterReward(dict.fromkeys([*TABLE, "", "?"], math.nan))
    with pytest.raises(RewardFault, match="|".join(prompt(asked).id for asked in (*"abcde", "ab", "cd"))):
        run("grpo", tmp_path, settings(3), task(reward=broken))


def test_truncated_replies_are_left_out_when_so_set(tmp_path):
    seen = []
    options = settings(1, reward=RewardTerms(drop_truncated=True))
    run("ppo", tmp_path, options, on_step=lambda step, metrics: seen.append(metrics))
    assert seen[0]["left_out"] == pytest.approx(24 * (1 - seen[0]["ended"]))


def test_terms_are_visible_by_name(tmp_path):
    seen = []
    work = replace(task(), rewards=RewardSum(((LetterReward(TABLE), 1.0),), (("missing_end", missing_end_term, -2.0),)))
    run("grpo", tmp_path, settings(1), work, on_step=lambda step, metrics: seen.append(metrics))
    m = seen[0]
    assert m["reward/missing_end"] == pytest.approx(1 - m["ended"])
    assert m["reward"] == pytest.approx(m["reward/letters"] - 2 * m["reward/missing_end"])


def test_kl_stops_the_run_at_its_bound_and_holds_it_with_a_coefficient(tmp_path):
    _, reason = run("grpo", tmp_path / "bound", settings(30, kl=KL(coefficient=0.0, stop_at=0.3)))
    assert reason == "kl"
    last: dict[float, float] = {}
    for coefficient in (0.0, 2.0):
        seen = []
        options = settings(30, kl=KL(coefficient=coefficient))
        run("grpo", tmp_path / str(coefficient), options, on_step=lambda s, m, seen=seen: seen.append(m["kl"]))
        last[coefficient] = sum(seen[-10:]) / 10
    assert last[2.0] < 0.5 * last[0.0], last


def test_hacking_is_named_and_stops_the_run(tmp_path):
    # Paid for "e", which the held-out judge dislikes most.
    work = replace(
        task(reward=LetterReward({"e": 1.0})),
        watch_prompts=[prompt(a + b) for a in "abcde" for b in "abcde"],
        held_out=LetterReward({"e": -1.0, "c": 1.0}, "held-out"),
    )
    options = settings(60, watch=Watch(every=10, prompts=25, stop_on="hacking"))
    loop, reason = run("grpo", tmp_path, options, work)
    assert reason == "hacking"
    names = {warned["name"] for warned in loop.journal.warnings()}
    assert "reward_up_verdict_down" in names or "distinct_collapse" in names
    last = (tmp_path / "evaluations.jsonl").read_text().splitlines()[-1]
    assert len(json.loads(last)["transcripts"]) == 10
