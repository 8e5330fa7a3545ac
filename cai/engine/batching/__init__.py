"""Continuous batching over a `transformers` model, such that a request's result does not depend on its company.

`scheduler` keeps a batch of slots full, `runner` puts one step through the model, `attention` and `rows` compute each
row with the same operations in the same order whatever else is in the step, `prefixes` remembers keys and values of
prompts, `sampling` draws from a request's own random numbers.
"""
