"""The sandbox as one object: made, started, asked, stopped."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Collection, Mapping
from types import TracebackType

from django_verigator.sandbox.clock import Clock
from django_verigator.sandbox.desk import Desk
from django_verigator.sandbox.guard import Guard, is_loopback
from django_verigator.sandbox.rules import Rules
from django_verigator.sandbox.server import SandboxServer
from django_verigator.sandbox.store import Store, StoreError

MAX_PORT = 65535


class SandboxError(Exception):
    """The sandbox cannot run as it was told to; the message says why, in one line."""


class Sandbox(Desk):
    """A provider in a thread of this process, on real HTTP.

    Args:
        username, password: the API account that may call it.
        port: 0 takes any free one.
        db: a file that keeps services, users, messages and devices over a restart; without it they live in memory.
        accounts: more accounts, username -> password; none of them sees another's services.
        create_status, pin_length, pin_validity, max_tries, legacy_auth_id, strict, path_prefix,
            senders: see ``Rules``.
        clock: the time, in seconds since 1970.
        allow_remote: needed for any ``host`` that is not of this machine alone. Whoever reaches it reads every PIN.
        allow_hosts: names beside localhost that a Host header may have, ``name`` or ``name:port``.
        certfile, keyfile: serve HTTPS with this certificate.

    Raises:
        SandboxError: a setting is not usable, the port is taken, or the file is not a sandbox's.
    """

    def __init__(
        self,
        *,
        username: str,
        password: str,
        host: str = "127.0.0.1",
        port: int = 0,
        db: str | None = None,
        accounts: Mapping[str, str] | None = None,
        create_status: str = "auto",
        pin_length: int = 4,
        pin_validity: float = 300,
        max_tries: int = 5,
        legacy_auth_id: bool = False,
        strict: bool = False,
        path_prefix: str = "",
        senders: Collection[str] = (),
        clock: Callable[[], float] = time.time,
        allow_remote: bool = False,
        allow_hosts: Collection[str] = (),
        certfile: str | None = None,
        keyfile: str | None = None,
    ) -> None:
        if not is_loopback(host) and not allow_remote:
            raise SandboxError(f"{host or 'an empty host'} is not of this machine alone; say --allow-remote to mean it")
        if not 0 <= port <= MAX_PORT:
            raise SandboxError(f"the port must be 0 to {MAX_PORT}")
        try:
            rules = Rules(
                accounts={**(accounts or {}), username: password},
                create_status=create_status,
                pin_length=pin_length,
                pin_validity=pin_validity,
                max_tries=max_tries,
                legacy_auth_id=legacy_auth_id,
                strict=strict,
                path_prefix=path_prefix,
                senders=tuple(senders),
            )
            tls = _tls(certfile, keyfile)
            store = Store(db)
        except (ValueError, StoreError) as error:
            raise SandboxError(str(error)) from None
        except OSError as error:
            raise SandboxError(f"cannot use the certificate {certfile}: {error.strerror or error}") from None
        super().__init__(store, Clock(clock), rules)
        self._host = host.strip("[]")
        try:
            guard = Guard([self._host, *allow_hosts])
            self._server = SandboxServer((self._host, port), self, guard, tls)
        except OSError as error:
            store.close()
            raise SandboxError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
        self._stopped = False

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end: ``http://127.0.0.1:8750``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._server.scheme}://{host}:{self._server.server_address[1]}"

    def start(self) -> Sandbox:
        self._server.start()
        return self

    def stop(self) -> None:
        """End every call, close every connection and the store. Doing it twice does no harm."""
        if not self._stopped:
            self._stopped = True
            self._server.stop()
            self.store.close()

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _tls(certfile: str | None, keyfile: str | None) -> ssl.SSLContext | None:
    if certfile is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certfile, keyfile)
    return context
