"""Write responses to a connection."""

from __future__ import annotations

from email.utils import formatdate

from .connection import ClientConnection
from .http_messages import Response, reason_phrase


def send_response(client: ClientConnection, response: Response) -> None:
    """Send a response; head and body go out in one write, so that no delayed acknowledgement holds up the client."""
    client.begin_response(response.status)
    if isinstance(response.body, bytes):
        head = render_head(client, response, length=len(response.body))
        client.write(head + (b"" if client.head_only else response.body))
        return
    client.closing = client.closing or client.http10
    client.write(render_head(client, response, length=None))
    if client.head_only:
        return
    for chunk in response.body:
        client.write(chunk if client.http10 else b"%x\r\n%b\r\n" % (len(chunk), chunk))
    if not client.http10:
        client.write(b"0\r\n\r\n")


def render_head(client: ClientConnection, response: Response, *, length: int | None) -> bytes:
    """Return the status line and the headers; a ``length`` of None (bytes) announces a chunked body."""
    framing = [] if client.http10 else ["Transfer-Encoding: chunked"]
    if length is not None:
        framing = [f"Content-Length: {length}"]
    if client.closing or client.http10:
        framing.append("Connection: close" if client.closing else "Connection: keep-alive")
    lines = [
        f"HTTP/1.1 {int(response.status)} {reason_phrase(response.status)}",
        "Server: verigator-sandbox",
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Type: {response.content_type}",
        *framing,
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Cross-Origin-Resource-Policy: same-origin",
        *(f"{name}: {value}" for name, value in response.headers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
