"""How the tiny model is made: text of the world, a tokenizer, and one seeded training run.

`voices` words principles, `critic` says what is wrong, `chains` and `comparisons` lay out what `cai.critique` and
`cai.judge` will ask, `drills` sets minimal pairs, `probes` asks lower layers what they know, `trees` packs all that
shares a prefix, `training` trains.
Run `python -m cai.testbed.pretraining --out FOLDER`.
"""
