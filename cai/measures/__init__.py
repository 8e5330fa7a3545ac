"""Measures of replies and of differences between runs, shared by every stage that reports a figure.

`intervals` holds the statistics: paired, clustered by question, from scipy and statsmodels. `refusal` is the
classifier that every refusal figure rests on.
"""
