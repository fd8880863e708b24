"""Rounds, the ratios formed inside them, and the table."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

HEAD = ("measure", "floor", "by hand", "django_verigator", "goal")


@dataclass(frozen=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: how often everything is measured in turn.
        users: new users in a round, each of whom logs in twice.
        pages: requests for a guarded page in a round.
        seconds: how long one side makes calls, or logs in on a server, in a round.
        registrations: users that one run of ``verigator_sync`` registers.
        memory: users of the smaller of the two runs whose memory is compared. With fewer the process is still growing
            to its working size.
    """

    rounds: int = 7
    users: int = 10
    pages: int = 300
    seconds: float = 2
    registrations: int = 1600
    memory: int = 8000


QUICK = Effort(rounds=2, users=2, pages=50, seconds=0.5, registrations=160, memory=500)


@dataclass(frozen=True)
class Row:
    measure: str
    floor: str
    by_hand: str
    ours: str
    goal: str = ""

    @property
    def cells(self) -> tuple[str, ...]:
        return (self.measure, self.floor, self.by_hand, self.ours, self.goal)


def in_rounds(rounds: int, sides: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Measure all sides in each round, another one first each time; return the figures by side."""
    figures: dict[str, list[float]] = {side: [] for side in sides}
    order = list(sides)
    for _ in range(rounds):
        for side in order:
            figures[side].append(sides[side]())
        order.append(order.pop(0))
    return figures


def ratios(figures: Sequence[float], floor: Sequence[float]) -> str:
    """Divide round by round, so that a slow minute moves both sides."""
    return spread([figure / least for figure, least in zip(figures, floor, strict=True)])


def spread(figures: Sequence[float]) -> str:
    """Return the median, with the lowest and the highest round in brackets."""
    low, high = min(figures), max(figures)
    return f"{statistics.median(figures):.2f} ({low:.2f} to {high:.2f})"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
