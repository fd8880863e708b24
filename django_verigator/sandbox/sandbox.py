"""Wire the provider to an HTTP server and start and stop both as one object."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from types import TracebackType

from .allowed_hosts import AllowedHosts, is_loopback
from .application import Application
from .callbacks import CallbackSender
from .clock import Clock
from .config import ProviderConfig
from .handler import RequestHandler
from .provider import Provider
from .server import ThreadedServer
from .store import Store, StoreError

MAX_PORT = 65535


class SandboxError(Exception):
    """Report, in one line, why the sandbox cannot run with the given options."""


class Sandbox(Provider):
    """Serve a simulated provider over real HTTP from threads of this process.

    Args:
        username, password: the API account that callers must send.
        host: the address to listen on.
        port: the port to listen on; 0 takes any free one.
        db: an SQLite file that keeps services, users, messages and devices over a restart; None keeps them in memory.
        accounts: more accounts, as username -> password. No account sees another's services.
        create_status, pin_length, pin_validity, max_tries, legacy_auth_id, strict, path_prefix, senders: see
            ``ProviderConfig``; ``pin_length`` is in digits, ``pin_validity`` in seconds.
        clock: returns the time, in seconds since 1970 (UTC).
        allow_remote: permits a ``host`` that other machines can reach, which can then read every PIN; also posts
            delivery reports to other machines, and sends browsers from the widget back to sites there.
        allow_hosts: names besides localhost that a Host header may carry, as ``name`` or ``name:port``.
        certfile, keyfile: serve HTTPS with this certificate and key.

    Raises:
        SandboxError: an option has no usable value, the port is taken, or ``db`` is not a sandbox's file.
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
        _check_address(host, port, allow_remote)
        with _option_errors(certfile):
            config = ProviderConfig(
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
            tls = _tls_context(certfile, keyfile)
            self._callbacks = CallbackSender(allow_remote=allow_remote)
            super().__init__(Store(db), Clock(clock), config, self._callbacks.post)
        self._listen(host, port, AllowedHosts([host.strip("[]"), *allow_hosts]), tls, allow_remote)

    def _listen(
        self, host: str, port: int, allowed_hosts: AllowedHosts, tls: ssl.SSLContext | None, allow_remote: bool
    ) -> None:
        self._host = host.strip("[]")
        self._stopped = False
        application = Application(self, allowed_hosts, allow_remote=allow_remote)
        stopping = threading.Event()
        handler = partial(RequestHandler, application, stopping)
        try:
            self._server = ThreadedServer((self._host, port), handler, stopping, tls)
        except OSError as error:
            self.store.close()
            raise SandboxError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None

    @property
    def url(self) -> str:
        """Return the address of the API without a trailing slash: ``http://127.0.0.1:8750``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._server.scheme}://{host}:{self._server.server_address[1]}"

    def start(self) -> Sandbox:
        """Begin to serve in the background, and return this sandbox."""
        self._server.start()
        return self

    def stop(self) -> None:
        """End every call and close every connection and the store. Idempotent."""
        if not self._stopped:
            self._stopped = True
            self._callbacks.stop()
            self._server.stop()
            self.store.close()

    def __enter__(self) -> Sandbox:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _check_address(host: str, port: int, allow_remote: bool) -> None:
    if not is_loopback(host) and not allow_remote:
        raise SandboxError(f"{host or 'an empty host'} is not of this machine alone; say --allow-remote to mean it")
    if not 0 <= port <= MAX_PORT:
        raise SandboxError(f"the port must be 0 to {MAX_PORT}")


@contextmanager
def _option_errors(certfile: str | None) -> Iterator[None]:
    """Turn the errors of unusable options into SandboxError."""
    try:
        yield
    except (ValueError, StoreError) as error:
        raise SandboxError(str(error)) from None
    except OSError as error:
        raise SandboxError(f"cannot use the certificate {certfile}: {error.strerror or error}") from None


def _tls_context(certfile: str | None, keyfile: str | None) -> ssl.SSLContext | None:
    if certfile is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certfile, keyfile)
    return context
