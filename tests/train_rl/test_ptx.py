"""The pretraining mix: what is scored, and that its weight times its loss is all it adds to a step."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from cai.config.rl import KL, PPO, Update
from cai.config.train import TrainSettings
from cai.errors import InputError
from cai.train.loading import open_base
from cai.train.rl.ptx import SupervisedMix
from cai.train.rl.update import NotFinite, update
from tests.train_rl.small import learner_for, small_model
from tests.train_rl.test_loop import experience_for, settings


@pytest.fixture(scope="module")
def base():
    return open_base(TrainSettings(model="tiny"))


def test_dialogues_score_their_replies_and_plain_text_all_but_its_first_token(base, tmp_path):
    chat = tmp_path / "chat.jsonl"
    turns = [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "A reply."}]
    chat.write_text(json.dumps({"messages": turns}) + "\n")
    (dialogue,) = SupervisedMix.read(chat, base.tokenise, base.limit, seed=0).groups
    reply = (*base.tokenise.renderer.plain_ids("A reply."), base.tokenise.end)
    assert dialogue.replies == (reply,)

    text = tmp_path / "text.txt"
    text.write_text("A reply.\n\nAnother longer line of words that is cut in two.\n")
    groups = SupervisedMix.read(text, base.tokenise, 12, seed=0).groups
    assert groups[0].prompt + groups[0].replies[0] == reply
    rest = base.tokenise.renderer.plain_ids("Another longer line of words that is cut in two.")
    pieces = [group.prompt + group.replies[0] for group in groups[1:]]
    assert all(len(piece) <= 12 for piece in pieces)
    assert sum(pieces, ()) in ((*rest, base.tokenise.end), rest)


def test_an_empty_file_and_a_missing_one_are_told(base, tmp_path):
    (tmp_path / "empty.txt").write_text("\n\n")
    for name, said in (("empty.txt", "nothing in it fits"), ("none.txt", "there is no file")):
        with pytest.raises(InputError, match=said):
            SupervisedMix.read(tmp_path / name, base.tokenise, base.limit, seed=0)


def gradients(weight: float, ptx_loss, learning: bool):
    """Of one PPO step, with or without what the replies teach; a tiny rate leaves the gradients where they are."""
    options = settings(1, ppo=PPO(ptx=weight), kl=KL(coefficient=0.1), update=Update(learning_rate=1e-12, epochs=1))
    learner = learner_for("ppo", options, model=small_model(0))
    e = experience_for("ppo", options, learner)
    if not learning:
        e = replace(e, advantage_BT=0 * e.advantage_BT, return_BT=e.value_BT)
    grabbed = {}
    take = learner.optimizer.step
    learner.optimizer.step = lambda *a: (
        grabbed.update({n: p.grad.clone() for n, p in learner.policy.named_parameters()}),
        take(*a),
    )
    big = options.model_copy(update={"update": options.update.model_copy(update={"max_grad_norm": 1e9})})
    update(replace(learner, ptx_loss=ptx_loss), e, 0.1, big, 0)
    return grabbed


def test_the_mix_adds_its_weight_times_its_gradient():
    ids = torch.tensor([[2, 3, 4, 5]])

    def loss(policy, step, minibatch):
        scored = policy({"input_ids": ids}, torch.arange(3, dtype=torch.int32), ids[0, 1:].int(), 1.0)
        return -scored["logp_N"].mean() + 0.0 * scored["value_N"].sum()

    alone, both, without = gradients(0.5, loss, False), gradients(0.5, loss, True), gradients(0.0, None, True)
    for name, whole in both.items():
        torch.testing.assert_close(whole, alone[name] + without[name], atol=1e-6, rtol=1e-4, msg=name)
    assert alone["model.lm_head.weight"].abs().max() > 1e-3


def test_a_mix_that_is_not_finite_stops_the_run():
    with pytest.raises(NotFinite, match="supervised mix is not finite at step 0"):
        gradients(0.5, lambda policy, step, minibatch: torch.tensor(float("nan"), requires_grad=True), True)
