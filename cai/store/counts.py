"""Where a stage stands, and what it may cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from cai.records import Usage
from cai.store.faults import TooManyErrors
from cai.store.reader import Totals
from cai.store.row import Row


@dataclass(frozen=True, slots=True)
class Counts:
    """A stage's standing: stored records of all passes, and the speed of this one."""

    total: int | None
    """Items in all, where it is known."""
    max_error_rate: float
    ok: int = 0
    quarantined: int = 0
    usage: Usage = field(default_factory=Usage)
    """Tokens of all stored records; attempts that failed are not in it."""
    done_now: int = 0
    """Records finished in this pass."""
    usage_now: Usage = field(default_factory=Usage)
    seconds: float = 0.0
    """Wall time of this pass."""
    in_flight: int = 0
    stopping: bool = False
    """No new record is started any more; those in flight are being finished."""
    began: float = 0.0
    """When this pass began, on the clock of `time.perf_counter`."""

    def of(self, totals: Totals) -> Counts:
        """The same pass over what the journal says is stored."""
        states = totals.states
        return replace(self, ok=states["ok"], quarantined=states["quarantined"], usage=totals.usage)

    def after(self, group: Sequence[Row]) -> Counts:
        """The standing once a group of rows is durable."""
        good, usage = sum(row.state == "ok" for row in group), sum((row.usage for row in group), Usage())
        return replace(
            self,
            ok=self.ok + good,
            quarantined=self.quarantined + len(group) - good,
            usage=self.usage + usage,
            done_now=self.done_now + len(group),
            usage_now=self.usage_now + usage,
            in_flight=self.in_flight - len(group),
        )

    def at(self, now: float) -> Counts:
        """The same standing at another moment."""
        return replace(self, seconds=now - self.began)

    @property
    def done(self) -> int:
        return self.ok + self.quarantined

    @property
    def errors(self) -> int:
        return self.quarantined

    @property
    def error_rate(self) -> float:
        return self.quarantined / self.done if self.done else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens this pass produced per second; where a stage produces none, tokens it read."""
        tokens = self.usage_now.completion_tokens or self.usage_now.prompt_tokens
        return tokens / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float | None:
        """Time to the end at this pass's speed, where the total and a speed are known."""
        if self.total is None or not self.done_now:
            return None
        return max(0, self.total - self.done) * self.seconds / self.done_now

    def check_errors(self) -> None:
        """Raise TooManyErrors (exit code 1) above the tolerated rate; called last, when exports and tables are out."""
        if self.error_rate > self.max_error_rate:
            raise TooManyErrors(
                f"{self.quarantined} of {self.done} records were quarantined ({self.error_rate:.1%}), more than "
                f"--max-error-rate {self.max_error_rate:.1%} allows; `cai runs show` lists the reasons"
            )


@dataclass(frozen=True, slots=True)
class Budget:
    """Stop before the whole run, all passes together, costs more than `limit`."""

    limit: float
    price: Callable[[Usage], float]
    """Money for so many tokens, in the unit of `limit`."""

    def allows(self, counts: Counts) -> bool:
        """Whether one more record fits, if it and those in flight cost what the stored ones cost on average.

        Before the first record is stored nothing is known, and the chains that start then may overrun the limit.
        """
        spent = self.price(counts.usage)
        return spent + (counts.in_flight + 1) * spent / max(counts.ok, 1) <= self.limit

    def spent(self, counts: Counts) -> str:
        """What to tell the user when the next record does not fit."""
        return (
            f"stopped before --max-cost {self.limit:g}: {counts.done} records have cost "
            f"{self.price(counts.usage):.4g}; resumable: same command with a higher --max-cost"
        )
