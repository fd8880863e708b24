"""Run the sandbox as a program: ``python -m django_verigator.sandbox``."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn

from .config import CREATE_STATUSES
from .sandbox import Sandbox, SandboxError

DEFAULT_PORT = 8750
SHUTDOWN_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _ShutdownRequested(Exception):  # noqa: N818 - a request, not a failure
    """Unwind the program after SIGTERM or Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the sandbox's command-line options to ``parser``."""
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", default=DEFAULT_PORT, type=int, help="port to listen on, 0 for any free one (%(default)s)")
    add("--username", required=True, help="API username that callers must send")
    add("--password", required=True, help="API password that callers must send")
    add("--account", action="append", default=[], metavar="USER:PASSWORD", help="one more account; may be repeated")
    add("--db", metavar="FILE", help="keep the state in this SQLite file over a restart (default: in memory)")
    add("--create-status", choices=CREATE_STATUSES, default="auto", help="what a POST answers (%(default)s)")
    add("--pin-length", type=int, default=4, metavar="DIGITS", help="4 to 16 (%(default)s)")
    add("--pin-validity", type=float, default=300, metavar="SECONDS", help="how long a PIN is valid (%(default)s)")
    add("--max-tries", type=int, default=5, metavar="N", help="wrong tries before THROTTLED (%(default)s)")
    add("--legacy-auth-id", action="store_true", help="answer auth_id on a start, as until September 2017")
    add("--strict", action="store_true", help="serve only the documented paths")
    add("--path-prefix", default="", metavar="PATH", help="also serve the API below this path")
    add(
        "--sender",
        action="append",
        default=[],
        metavar="NAME",
        help="a valid sender of Number Verification and Omnichannel (default: any)",
    )
    add("--allow-remote", action="store_true", help="permit a --host that others can reach; they can read every PIN")
    add("--allow-host", action="append", default=[], metavar="NAME[:PORT]", help="one more Host header to answer to")
    add("--certfile", metavar="FILE", help="serve HTTPS with this certificate")
    add("--keyfile", metavar="FILE", help="the certificate's key, if it is in another file")


def run(options: Mapping[str, Any]) -> int:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        options: the values of the options that ``add_arguments`` adds, by name.

    Returns:
        The exit code: 0 after a signal, 1 if the sandbox cannot run with these options.
    """
    try:
        with _signals_raise_shutdown():
            return _serve(options)
    except _ShutdownRequested:
        return 0
    except SandboxError as error:
        sys.stderr.write(f"verigator sandbox: {error}\n")
        return 1


def _serve(options: Mapping[str, Any]) -> NoReturn:
    with Sandbox(
        username=options["username"],
        password=options["password"],
        host=options["host"],
        port=options["port"],
        db=options["db"],
        accounts=_parse_accounts(options["account"]),
        create_status=options["create_status"],
        pin_length=options["pin_length"],
        pin_validity=options["pin_validity"],
        max_tries=options["max_tries"],
        legacy_auth_id=options["legacy_auth_id"],
        strict=options["strict"],
        path_prefix=options["path_prefix"],
        senders=options["sender"],
        allow_remote=options["allow_remote"],
        allow_hosts=options["allow_host"],
        certfile=options["certfile"],
        keyfile=options["keyfile"],
    ) as sandbox:
        sys.stdout.write(f"Sandbox ready at {sandbox.url}/\n")
        sys.stdout.flush()
        while True:
            threading.Event().wait()


def _parse_accounts(pairs: list[str]) -> dict[str, str]:
    accounts = {}
    for pair in pairs:
        username, colon, password = pair.partition(":")
        if not colon:
            raise SandboxError("--account takes USER:PASSWORD")
        accounts[username] = password
    return accounts


@contextmanager
def _signals_raise_shutdown() -> Iterator[None]:
    """Turn SIGTERM and Ctrl-C into _ShutdownRequested; a second signal is ignored, so that the cleanup finishes."""

    def raise_shutdown(_number: int, _frame: object) -> None:
        for number in SHUTDOWN_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise _ShutdownRequested

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, raise_shutdown) for number in SHUTDOWN_SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def main() -> int:
    """Parse the command line and serve; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m django_verigator.sandbox",
        description="A local stand-in for Messente's Verification API and Number Verification API. It sends no SMS: "
        "open its address to see them.",
    )
    add_arguments(parser)
    return run(vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
