"""`cai` turns a YAML constitution into a trained model.

It drafts, criticises and revises replies under written principles, has an AI judge turn principles into soft
preferences, trains on both, and says with intervals whether one principle set does better than another.
"""

__version__ = "0.1.0"
