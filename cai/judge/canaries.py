"""Empty replies that no working judge prefers to a real one; put before the judge in every run."""

from __future__ import annotations

from cai.constitution.model import Principle

CANARIES = ("", ":", "Thank you for your question.")
CANARY_QUESTION = "Which reply really responds to the user?"
"""Our own neutral question: under a principle about harm an empty reply may rightly win."""
CANARY = Principle(id="canary", judge=CANARY_QUESTION)
