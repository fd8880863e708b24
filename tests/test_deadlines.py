"""The bounds themselves: they notice what is late by its own fault, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import pytest

from tests.deadlines import GRACE, in_time


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
