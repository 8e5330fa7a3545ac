"""One strict way to read YAML: safe, bounded, and with the place of every value kept for later errors.

`parse` turns a file into plain data with places; `validate` fits the data to a pydantic model and says, for every
problem at once, where it is, what is wrong and what to do.
"""

from cai.strict_yaml.parse import Doc, dotted, load, read, read_text, shown
from cai.strict_yaml.validate import Misfit, did_you_mean, find_problems, validate

__all__ = ["Doc", "Misfit", "did_you_mean", "dotted", "find_problems", "load", "read", "read_text", "shown", "validate"]
