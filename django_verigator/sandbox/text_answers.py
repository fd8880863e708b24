"""Read the parameters and write the answers of the provider's older APIs, which know neither JSON nor statuses.

Parameters come in the query of a GET or a POST, in a form, or in both. Every answer, errors included, is a short text
with status 200. It ends without a line break, which messente-python takes for a part of the id.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from urllib.parse import parse_qsl

from .credentials import account_of_parameters
from .http_messages import Headers, HTTPError, Request, Response
from .routing import Route

FORM = "application/x-www-form-urlencoded"
MAX_FIELDS = 100
MAX_FIELD_LENGTH = 255

# From Messente's OpenAPI file and its clients.
CREDENTIALS = "ERROR 101"
PARAMETERS = "ERROR 102"
SENDER = "ERROR 111"

Parameters = dict[str, str]


class ErrorAnswer(Exception):  # noqa: N818 - an answer of the API
    """End the call with the text given as the argument."""


def text_response(text: str, *, verified: bool | None = None, headers: Headers = ()) -> Response:
    """Return a text as such an API answers it."""
    return Response(HTTPStatus.OK, text.encode("ascii"), "text/plain", headers, verified)


def answer_call(
    request: Request,
    route: Route,
    accounts: Mapping[str, str],
    answer: Callable[[Parameters, str], Response],
    *,
    max_length: int = MAX_FIELD_LENGTH,
) -> Response:
    """Return what ``answer`` makes of the parameters and the account that sent them.

    Args:
        max_length: characters of the longest value that is taken.

    Raises:
        HTTPError: 405, the method is neither GET nor POST.
    """
    if not route.operation:
        headers = (("Allow", ", ".join([*route.allowed_methods, "OPTIONS"])),)
        if request.method == "OPTIONS":
            return text_response("", headers=headers)
        raise HTTPError(HTTPStatus.METHOD_NOT_ALLOWED, "This method is not allowed here", headers)
    try:
        parameters = _parameters(request, max_length)
        account = account_of_parameters(accounts, parameters.get("username", ""), parameters.get("password", ""))
        if account is None:
            raise ErrorAnswer(CREDENTIALS)
        return answer(parameters, account)
    except ErrorAnswer as error:
        return text_response(str(error))


def _parameters(request: Request, max_length: int) -> Parameters:
    """Return the non-empty parameters of query and form together, since Messente's Java SDK sends them in both."""
    sources = [request.query]
    if request.content_type == FORM:
        sources.append(request.body.decode("utf-8", "replace"))
    parameters: Parameters = {}
    for source in sources:
        try:
            parameters |= dict(parse_qsl(source, max_num_fields=MAX_FIELDS))
        except ValueError:
            raise ErrorAnswer(PARAMETERS) from None
    if any(len(value) > max_length for value in parameters.values()):
        raise ErrorAnswer(PARAMETERS)
    return parameters
