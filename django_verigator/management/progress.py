"""How far a run is, on stderr, and how a signal ends it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.core.management.base import OutputWrapper

from ..records.sync.run import Progress

BAR_WIDTH = 30

PLAIN_SECONDS = 10.0
"""Between two lines where there is no terminal."""

TERMINAL_SECONDS = 0.2


@contextmanager
def stop_on_signal() -> Iterator[threading.Event]:
    """Yield an event that the first SIGINT or SIGTERM sets; a second one ends the process."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: Any) -> None:
        stop.set()
        # Not the handler from before: a shell has SIGINT ignored in what it starts in the background.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class ProgressLines:
    """One line that is overwritten on a terminal, a line every PLAIN_SECONDS elsewhere.

    Args:
        stderr: not stdout, which carries the report.
        is_quiet: show nothing.
    """

    def __init__(self, stderr: OutputWrapper, *, is_quiet: bool) -> None:
        self._err = stderr
        self._is_quiet = is_quiet
        self._is_terminal = stderr.isatty()
        self._shown_at = time.monotonic()
        self._is_line_open = False

    def __enter__(self) -> ProgressLines:
        return self

    def __exit__(self, *error: object) -> None:
        if self._is_line_open:
            self._err.write("")

    def show(self, progress: Progress) -> None:
        """Show where the run is, unless it was shown a moment ago."""
        now = time.monotonic()
        if self._is_quiet or now - self._shown_at < (TERMINAL_SECONDS if self._is_terminal else PLAIN_SECONDS):
            return
        self._shown_at = now
        text = _describe(progress)
        if self._is_terminal:
            self._err.write(f"\r{_bar(progress)}{text}\x1b[K", style_func=str, ending="")
            self._err.flush()
            self._is_line_open = True
        else:
            self._err.write(text, style_func=str)


def _bar(progress: Progress) -> str:
    if not progress.total:
        return ""
    filled = min(BAR_WIDTH, BAR_WIDTH * progress.done // progress.total)
    return f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] "


def _describe(progress: Progress) -> str:
    of_total = f" of {progress.total}" if progress.total else ""
    text = f"{progress.phase.label}: {progress.done}{of_total}, {progress.rate:.0f}/s"
    if progress.seconds_left is not None and progress.total:
        minutes, seconds = divmod(int(progress.seconds_left), 60)
        text += f", {minutes}:{seconds:02} left"
    return text
