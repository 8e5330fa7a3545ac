"""Does one constitution really do better than another? Paired differences between runs on the same prompts.

`sides` reads runs, `outcomes` says what is measured of one record, `contrasts` pairs them, `principles` and `judged`
look at single principles and at judges, `assemble` puts a `Result` together, and `report` writes it for people. No
model is needed here: the command line lets the critique and judge stages make the records.
"""
