"""Real servers and their workers, each over TLS to the provider: twenty people log in at once, and none is lost."""

from __future__ import annotations

import dataclasses

import pytest

from .conftest import DidNotStart, log_all_in
from .site import USERS

GUNICORN = {
    "sync": ("--workers", "2"),
    "gthread": ("--workers", "2", "--threads", "8"),
    "gevent": ("--workers", "2"),
    "asgi": ("--workers", "2"),
}
PATCH_FIRST = ("--config", "python:tests.servers.gunicorn_gevent")
ALL_IN = ["in"] * USERS


@pytest.mark.fault("N02")
@pytest.mark.parametrize("worker", GUNICORN)
def test_gunicorn__loses_no_login(site, serve, sandbox, worker):
    server = serve(site, "gunicorn", "-k", worker, *GUNICORN[worker])
    assert log_all_in(server, sandbox) == ALL_IN, server.log


@pytest.mark.parametrize("worker", GUNICORN)
def test_gunicorn_that_preloads__loses_no_login(site, serve, sandbox, worker):
    """The master process has asked the provider before the workers are forked off: its connections stay its own."""
    options = ("--preload", *GUNICORN[worker], *(PATCH_FIRST if worker == "gevent" else ()))
    server = serve(dataclasses.replace(site, warm=True), "gunicorn", "-k", worker, *options)
    assert log_all_in(server, sandbox) == ALL_IN, server.log


@pytest.mark.fault("N02")
def test_gunicorn_that_preloads_before_gevent_patches__does_not_start_and_says_why(site, serve):
    with pytest.raises(DidNotStart, match="before gevent patches Python"):
        serve(site, "gunicorn", "-k", "gevent", "--preload")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_uvicorn__loses_no_login(site, serve, sandbox, workers):
    server = serve(site, "uvicorn", "--workers", workers)
    assert log_all_in(server, sandbox) == ALL_IN, server.log


@pytest.mark.parametrize("worker", ["gthread", "gevent"])
def test_gunicorn_on_PostgreSQL__loses_no_login(site_on_postgresql, serve, sandbox, worker):
    server = serve(site_on_postgresql, "gunicorn", "-k", worker, *GUNICORN[worker])
    assert log_all_in(server, sandbox) == ALL_IN, server.log
