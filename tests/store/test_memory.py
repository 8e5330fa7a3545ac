"""Memory does not grow with the records: they are streamed from the items to the export."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

STATUS = Path("/proc/self/status")
SCRIPT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from small_stage import *
async def work(item):
    return Answer(item=item, text=f"{{item}} " * 400, usage=Usage(calls=5, completion_tokens=500))
def items(count):
    for item in range(count):
        yield item
with open_run(Path(sys.argv[1]), "run", stage="test", identity=IDENTITY) as run:
    assert stage(run, items(int(sys.argv[2])), work, concurrency=64).ok == int(sys.argv[2])
    export(run)
print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
"""


def peak_mb(base: Path, count: int) -> float:
    """Most memory a process held that stored and exported `count` records of about 2.4 kB."""
    if not STATUS.exists():
        pytest.skip("peak memory of a process is read from /proc")
    command = [sys.executable, "-c", SCRIPT, str(base / str(count)), str(count)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def test_eight_thousand_records_take_hardly_more_memory_than_two_thousand(base: Path) -> None:
    # Six thousand records of 2.4 kB are 14 MB; the ids that are kept to find doubles are 1 MB.
    small, large = peak_mb(base, 2_000), peak_mb(base, 8_000)
    assert large - small < 10, (small, large)
    assert large < 400


@pytest.mark.slow
def test_a_hundred_thousand_records_stay_under_400_mb(base: Path) -> None:
    assert peak_mb(base, 100_000) < 400
