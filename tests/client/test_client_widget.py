"""The signatures of the Verification Widget, by the documented vectors, and the address the browser is sent to."""

from __future__ import annotations

import traceback
from urllib.parse import parse_qs, urlsplit

import pytest

from django_verigator.client import widget

USER, PASSWORD = "039u230pifj23pg9ih23pgi23", "iejfp23oigh230p9gh32pgh2"
CALLBACK = "http://mydemo.com/verification/"
PHONE = "+372512345678"
REQUEST = {"user": USER, "version": "1", "callback_url": CALLBACK}
ANSWER = {"user": USER, "version": "1", "status": "VERIFIED", "phone": PHONE}
SIGNATURES = [
    # The docs print the first one without its last digit.
    pytest.param(REQUEST, "75024ad39fc4cee828cd103b88b3df40", id="request"),
    pytest.param({**REQUEST, "phone": PHONE}, "409f1397aed978f2d64044d8ca11b218", id="request with a number"),
    pytest.param(ANSWER, "5c49d22cf0e0c8c4949d5175a1c1fafc", id="verified"),
    pytest.param({**ANSWER, "status": "CANCELLED"}, "a3d9d66939effd682ea6f24d6ae4d1b3", id="cancelled"),
]


def signed(**parameters: str) -> dict[str, str]:
    return {**parameters, "sig": widget.sign(parameters, PASSWORD)}


@pytest.mark.parametrize(("parameters", "expected"), SIGNATURES)
def test_sign__gives_the_documented_signature(parameters, expected):
    assert widget.sign(parameters, PASSWORD) == expected


@pytest.mark.parametrize(("parameters", "expected"), SIGNATURES)
def test_verify__takes_the_documented_signature(parameters, expected):
    assert widget.verify({**parameters, "sig": expected}, PASSWORD) is True


def test_sign__leaves_out_what_is_not_documented():
    more = {"sig": "0" * 32, "pass": "another", "password": "another", "utm_source": "mail", "Status": "CANCELLED"}

    assert widget.sign({**ANSWER, **more}, PASSWORD) == widget.sign(ANSWER, PASSWORD)


@pytest.mark.parametrize("key", ["user", "version", "status", "phone"])
def test_verify__refuses_an_answer_that_was_changed(key):
    answer = signed(**ANSWER)

    assert not widget.verify({**answer, key: answer[key] + "1"}, PASSWORD)
    assert not widget.verify({name: value for name, value in answer.items() if name != key}, PASSWORD)


@pytest.mark.parametrize("sig", ["", "0" * 32, "é" * 32, "\ud800", "5C49D22CF0E0C8C4949D5175A1C1FAFC", None, 5, b"x"])
def test_verify__refuses_any_other_signature(sig):
    assert widget.verify({**ANSWER, "sig": sig}, PASSWORD) is False


def test_verify__refuses_an_answer_without_signature_or_of_another_password():
    assert widget.verify(ANSWER, PASSWORD) is False
    assert widget.verify(signed(**ANSWER), f"{PASSWORD}2") is False


@pytest.mark.parametrize("value", [None, 5, ["+372512345678"], "\ud800"])
def test_verify__refuses_a_value_that_is_no_text(value):
    assert widget.verify({**signed(**ANSWER), "phone": value}, PASSWORD) is False


def test_verify__has_no_trouble_with_long_values():
    answer = signed(**{**ANSWER, "phone": "1" * 10_000})

    assert widget.verify(answer, PASSWORD) is True
    assert widget.verify({**answer, "sig": "f" * 10_000}, PASSWORD) is False


def test_verify__compares_in_constant_time(monkeypatch):
    compared = []
    monkeypatch.setattr(widget.hmac, "compare_digest", lambda *pair: compared.append(pair) or False)

    assert widget.verify(signed(**ANSWER), PASSWORD) is False
    assert len(compared) == 1


def test_request_url__has_the_documented_parameters_and_no_password():
    url = widget.request_url(USER, PASSWORD, CALLBACK, phone=PHONE)

    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == "https://verify.messente.com/"
    assert parse_qs(parts.query) == {
        **{key: [value] for key, value in REQUEST.items()},
        "phone": [PHONE],
        "sig": ["409f1397aed978f2d64044d8ca11b218"],
    }
    assert PASSWORD not in url


def test_request_url__without_a_number_leaves_it_out():
    query = parse_qs(urlsplit(widget.request_url(USER, PASSWORD, CALLBACK)).query)

    assert "phone" not in query
    assert query["sig"] == ["75024ad39fc4cee828cd103b88b3df40"]


def test_request_url__shows_no_number_where_variables_are_printed():
    assert PHONE[1:] not in repr(widget.request_url(USER, PASSWORD, CALLBACK, phone=PHONE))


@pytest.mark.parametrize(
    "given",
    [
        {"username": ""},
        {"username": None},
        {"callback_url": " "},
        {"callback_url": "/verification/"},
        {"callback_url": "javascript:alert(1)"},
        {"phone": "\ud800"},
        {"endpoint": "http://verify.messente.com/"},
        {"endpoint": "https:///"},
        {"endpoint": "https://verify.messente.com/?user=other"},
    ],
)
def test_request_url__refuses_what_it_cannot_send(given):
    arguments = {"username": USER, "password": PASSWORD, "callback_url": CALLBACK, **given}

    with pytest.raises(ValueError, match=r"must |no valid text"):
        widget.request_url(**arguments)


def test_request_url__takes_a_page_on_this_machine_over_http():
    url = widget.request_url(USER, PASSWORD, CALLBACK, endpoint="http://127.0.0.1:8750/widget/")

    assert url.startswith("http://127.0.0.1:8750/widget/?user=")


@pytest.mark.parametrize("password", ["", "  ", None, 5, "hunter2\ud800"])
@pytest.mark.parametrize("call", ["sign", "verify", "request_url"])
def test_password_that_is_none__is_a_clear_error_that_does_not_show_it(call, password):
    calls = {
        "sign": lambda: widget.sign(ANSWER, password),
        "verify": lambda: widget.verify(signed(**ANSWER), password),
        "request_url": lambda: widget.request_url(USER, password, CALLBACK),
    }

    with pytest.raises(ValueError, match="password") as caught:
        calls[call]()

    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_parameter_that_is_no_text__is_an_error_that_does_not_show_the_password():
    for value in (None, 5, "\ud800"):
        with pytest.raises(ValueError, match=r"phone must be a str|no valid text") as caught:
            widget.sign({**ANSWER, "phone": value}, PASSWORD)
        assert PASSWORD not in "".join(traceback.format_exception(caught.value))
