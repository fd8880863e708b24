"""The bounds themselves: they notice what is late by its own fault, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.deadlines import GRACE, SCHEDULED, in_time


def test_block_that_is_late__is_noticed():
    with pytest.raises(AssertionError), in_time(0.1):
        time.sleep(0.2 + GRACE)


def test_process_that_was_not_run__is_not_late():
    began = time.monotonic()
    with in_time(0.1):
        # More than once, in case the first comes before we have stopped.
        waker = subprocess.Popen(["sh", "-c", f"for n in 1 2 3 4 5; do sleep 1; kill -CONT {os.getpid()}; done"])
        os.kill(os.getpid(), signal.SIGSTOP)
    waker.kill()
    waker.wait()
    assert time.monotonic() - began > 0.1 + GRACE, "it was stopped for longer than the bound"


@pytest.mark.skipif(not os.path.exists(SCHEDULED), reason="only Linux tells how long a thread waited")
def test_thread_whose_processor_is_shared__is_not_late():
    """Four processes on one processor: each runs for a quarter of the time, and none is stopped for long."""
    processors = os.sched_getaffinity(0)
    one = {min(processors)}
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    began = time.monotonic()
    try:
        os.sched_setaffinity(0, one)
        for other in others:
            os.sched_setaffinity(other.pid, one)
        with in_time(GRACE):
            worked = time.thread_time()
            while time.thread_time() - worked < GRACE:
                pass
    finally:
        os.sched_setaffinity(0, processors)
        for other in others:
            other.kill()
            other.wait()
    assert time.monotonic() - began > 2 * GRACE, "it took longer than the bound"
