"""Measuring a policy: suites of prompts with known readings, attacks that wrap them, and a red team that finds more.

A suite is one file in `suites/`: how its data is read, what is asked, how the answer is read, what it counts for.
"""
