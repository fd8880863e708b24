from tests.conftest import PHONE, give_password, sent_pin
from .trace import files_passed, first_visits, returns
import pytest


@pytest.fixture
def pin_posted(alice, client):
    give_password(client)
    pin = sent_pin()
    with files_passed() as passed:
        client.post("/accounts/verify/", {"pin": pin})
    return passed


def test_a(pin_posted):
    print("PIN", returns(pin_posted))
    print("\n".join(first_visits(pin_posted)))
    print(pin_posted)


def test_b(db, django_user_model, django_capture_on_commit_callbacks):
    with files_passed() as passed:
        with django_capture_on_commit_callbacks(execute=True):
            django_user_model.objects.create_user("dora", phone_number="+37255500061")
    print("SAVED", returns(passed))
    print("\n".join(first_visits(passed)))


def test_c(alice, client):
    with files_passed() as passed:
        r = client.get("/magic/alice/")
    print(r, r.headers)
    print("CAUGHT", returns(passed))
    print("\n".join(first_visits(passed)))
