"""Reinforcement learning from AI feedback: one loop on accelerate, three interfaces.

`rollout` draws replies from an engine, `rewards` scores them, and a method file (`ppo`, `grpo`, `rloo`, `spo`,
`online_dpo`) says how scores become a loss; `loop` turns the crank and knows no method. `watch` looks for reward
hacking.
"""
