# pyright: reportUnknownVariableType=false
"""A run's folder: what was asked and answered, kept safe against kills, full disks and second processes.

`journal.sqlite` holds one row per finished record and is the only truth: states, counts and exports are derived from
it. A stage opens the run, works through its items with `run_stage`, and writes its Parquet files from the rows. The
same command again skips what is stored, so a resumed run's export equals an uninterrupted one's, byte for byte.
"""

from cai.store.counts import Budget, Counts
from cai.store.faults import BudgetSpent, Interrupted, StoreError, TooManyErrors
from cai.store.parquet import batches
from cai.store.reader import Stored
from cai.store.run import Run, check_run, open_run
from cai.store.stage import run_stage

__all__ = [
    "Budget",
    "BudgetSpent",
    "Counts",
    "Interrupted",
    "Run",
    "StoreError",
    "Stored",
    "TooManyErrors",
    "batches",
    "check_run",
    "open_run",
    "run_stage",
]
