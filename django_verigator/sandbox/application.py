"""Dispatch each request to the pages, the control API or the provider, and apply the active faults."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

from .allowed_hosts import AllowedHosts
from .call_log import Call
from .connection import ClientConnection
from .control_api import CONTROL_PREFIX, ControlApi
from .fault_injection import placeholder_response, send_faulty_response
from .faults import BEFORE, LATENCY, FaultRule
from .http_messages import HTTPError, Request, Response, error_response
from .phone_page import PhonePage
from .provider import Provider
from .response_writer import send_response
from .widget_page import WIDGET_PREFIX, WidgetPage

logger = logging.getLogger("django_verigator.sandbox")


class Application:
    """Answer the requests for one provider.

    Args:
        allow_remote: the widget may send browsers back to sites on other machines.
    """

    def __init__(self, provider: Provider, allowed_hosts: AllowedHosts, *, allow_remote: bool = False) -> None:
        self._provider = provider
        self._allowed_hosts = allowed_hosts
        self._control_api = ControlApi(provider)
        self._phone_page = PhonePage(provider)
        self._widget_page = WidgetPage(provider.widget, allow_remote=allow_remote)

    def handle(self, request: Request, client: ClientConnection) -> None:
        """Answer a request; ``client.closing`` says afterwards whether its connection must end."""
        try:
            # Sites send browsers to the widget, by a form as well.
            self._allowed_hosts.check(request, any_origin=request.segments == [WIDGET_PREFIX])
        except HTTPError as error:
            send_response(client, error.response)
            return
        first = request.segments[:1]
        if first in ([], ["static"], ["favicon.ico"]):
            send_response(client, _response_from(lambda: self._phone_page.handle(request)))
        elif first == [WIDGET_PREFIX]:
            send_response(client, _response_from(lambda: self._widget_page.handle(request)))
        elif first == [CONTROL_PREFIX]:
            send_response(client, _response_from(lambda: self._control_api.handle(request)))
        else:
            self._handle_api_call(request, client)

    def _handle_api_call(self, request: Request, client: ClientConnection) -> None:
        provider = self._provider
        route = provider.router.resolve(request)
        call = provider.call_log.record(request, route, provider.clock.now())
        client.on_response = call.record_response
        try:
            faults = provider.fault_registry.trigger(route, request.path)
            call.faults = [fault.kind for fault in faults]
            _serve_call(call, faults, client, lambda: provider.handle(request, route))
        except BaseException:
            client.closing = True
            raise
        finally:
            call.record_end()


def _serve_call(
    call: Call, faults: list[FaultRule], client: ClientConnection, get_response: Callable[[], Response]
) -> None:
    """Answer an API call: wait for the latencies, carry the call out unless a fault prevents it, and respond."""
    latencies = [fault for fault in faults if fault.kind == LATENCY]
    failure = next((fault for fault in faults if fault.kind != LATENCY), None)
    if latencies and not client.sleep(sum(fault.seconds or 0 for fault in latencies if fault.when == BEFORE)):
        client.closing = True
        return
    if failure and failure.when == BEFORE:
        response = placeholder_response(failure)
    else:
        response = _response_from(get_response)
        call.verified = response.verified
    if latencies and not client.sleep(sum(fault.seconds or 0 for fault in latencies if fault.when != BEFORE)):
        client.closing = True
    elif failure:
        send_faulty_response(client, response, failure)
    else:
        send_response(client, response)


def _response_from(get_response: Callable[[], Response]) -> Response:
    """Return the response, or the one that an exception stands for."""
    try:
        return get_response()
    except HTTPError as error:
        return error.response
    except Exception:
        logger.exception("The sandbox failed to answer a request")
        return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, "The sandbox failed; its log says why")
