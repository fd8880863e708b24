"""The management commands, against the sandbox where they talk to a provider."""

from __future__ import annotations

import json
import logging

import pytest
from django.core.management import CommandError, call_command

from django_verigator import events
from django_verigator.client import Api
from django_verigator.flows import support
from django_verigator.models import Challenge, VerigatorUser
from django_verigator.records import links
from django_verigator.sandbox import Sandbox
from tests.site.models import User

from .conftest import PHONE, give_password

BACKEND = "django_verigator.backends.verigator.VerigatorBackend"


@pytest.fixture
def sandbox():
    with Sandbox(username="api", password="se:cret") as sandbox:
        yield sandbox


@pytest.fixture
def service(sandbox, settings):
    """The site's service at the sandbox, in the settings."""
    options = {"username": "api", "password": "se:cret", "endpoint": sandbox.url, "total_timeout": 2.0}
    service = Api("api", "se:cret", sandbox.url).services.create("example.com", "Example")
    options["service_id"] = service.id
    settings.VERIGATOR = {
        **settings.VERIGATOR,
        "BACKENDS": {"default": {"BACKEND": BACKEND, "OPTIONS": options}},
    }
    return service


def test_verigator_service__creates_one_and_says_what_to_set(sandbox, settings, capsys):
    options = {"username": "api", "password": "se:cret", "endpoint": sandbox.url}
    settings.VERIGATOR = {"BACKENDS": {"default": {"BACKEND": BACKEND, "OPTIONS": options}}, "STAND_IN": True}
    call_command("verigator_service", "example.com", "Example")
    printed = capsys.readouterr().out
    service_id = printed.split('["service_id"] = "')[1].split('"')[0]
    assert Api("api", "se:cret", sandbox.url).services.get(service_id).name == "Example"
    assert "se:cret" not in printed
    with pytest.raises(CommandError, match="has a service"):
        call_command("verigator_service", "example.com", "Example")


def test_verigator_service__says_what_is_wrong(sandbox, settings):
    options = {"username": "api", "password": "wrong-one", "endpoint": sandbox.url}
    settings.VERIGATOR = {"BACKENDS": {"default": {"BACKEND": BACKEND, "OPTIONS": options}}, "STAND_IN": True}
    with pytest.raises(CommandError, match="HTTP 401") as caught:
        call_command("verigator_service", "example.com", "Example")
    assert "wrong-one" not in str(caught.value)
    with pytest.raises(CommandError, match="no entry"):
        call_command("verigator_service", "example.com", "Example", backend="other")
    del options["password"]
    settings.VERIGATOR = {"BACKENDS": {"default": {"BACKEND": BACKEND, "OPTIONS": options}}, "STAND_IN": True}
    with pytest.raises(CommandError, match='Set "username" and "password"'):
        call_command("verigator_service", "example.com", "Example")


def test_verigator_sync__registers_deletes_and_reports(service, sandbox, db, capsys):
    User.objects.bulk_create([User(username=f"u{n}", phone_number=f"+3725550001{n}") for n in range(3)])
    User.objects.bulk_create([User(username="nophone"), User(username="junk", phone_number="call me")])
    with pytest.raises(CommandError, match="1 users have a number that cannot be used"):
        call_command("verigator_sync")
    printed = capsys.readouterr().out
    assert "registered: 3" in printed
    assert "without a phone: 1" in printed
    assert "number refused: 1" in printed
    users = Api("api", "se:cret", sandbox.url).users.get_all(service.id)
    stored = dict(VerigatorUser.objects.exclude(verigator_id=None).values_list("verigator_id", "id_in_service"))
    assert {user.id: user.username for user in users} == stored

    User.objects.get(username="u0").delete()
    User.objects.get(username="junk").delete()
    call_command("verigator_sync")
    assert "deleted at the provider: 1" in capsys.readouterr().out
    assert len(Api("api", "se:cret", sandbox.url).users.get_all(service.id)) == 2


def test_verigator_sync__dry_run_writes_nothing(service, sandbox, db, capsys):
    User.objects.bulk_create([User(username="u", phone_number=PHONE)])
    Api("api", "se:cret", sandbox.url).users.create(service.id, PHONE, "a-stranger")
    before = len(sandbox.calls())
    with pytest.raises(CommandError, match="Something is left to do") as caught:
        call_command("verigator_sync", dry_run=True)
    assert caught.value.returncode == 1
    printed = capsys.readouterr().out
    assert "users without a link: 1" in printed
    assert "known to the provider, unknown here: 1" in printed
    assert not VerigatorUser.objects.exists()
    assert {call["method"] for call in sandbox.calls()[before:]} == {"GET"}


def test_verigator_sync__dry_run_counts_the_numbers_that_a_run_would_take_over(alice, carol, capsys):
    call_command("verigator_sync", dry_run=True)
    User.objects.create_user("bob", phone_number="5550 0067")
    for name, number in (("alice", "+37255500011"), ("carol", "+37255500012"), ("bob", "+37255500013")):
        User.objects.filter(username=name).update(phone_number=number)
    capsys.readouterr()
    with pytest.raises(CommandError, match="Something is left to do"):
        call_command("verigator_sync", dry_run=True)
    assert "numbers of the site not taken over yet: 3" in capsys.readouterr().out
    with pytest.raises(CommandError):
        call_command("verigator_sync", dry_run=True, as_json=True)
    assert json.loads(capsys.readouterr().out)["dry_run"]["not_taken_over"] == 3
    call_command("verigator_sync")
    assert "registered: 3" in capsys.readouterr().out
    call_command("verigator_sync", dry_run=True)


def test_verigator_sync__counts_refused_numbers_and_does_not_call_that_order(alice, capsys):
    call_command("verigator_sync")
    assert "Everything is in order." in capsys.readouterr().out
    User.objects.create_user("bob", phone_number="5550 0067")
    for as_json in (False, True):
        with pytest.raises(CommandError, match="Mend it where the site keeps it") as ended:
            call_command("verigator_sync", as_json=as_json)
        assert ended.value.returncode == 4
        printed = capsys.readouterr().out
        assert "Everything is in order." not in printed
        assert as_json or "number refused: 1" in printed
    report = json.loads(printed)
    assert (report["outcome"], report["counts"]["refused"], report["counts"]["failed"]) == ("complete", 1, 0)


def test_verigator_sync__counts_a_number_once_that_is_refused_in_this_run(service, sandbox, db, capsys):
    User.objects.bulk_create([User(username="u", phone_number=PHONE)])
    sandbox.add_fault("status", status=422, operation="users.create")
    with pytest.raises(CommandError, match="Something is left to do"):
        call_command("verigator_sync")
    assert "number refused: 1" in capsys.readouterr().out


@pytest.mark.parametrize("options", [{}, {"dry_run": True}, {"due": True}])
def test_verigator_sync__with_wrong_credentials_says_what_to_mend(service, sandbox, settings, db, options):
    User.objects.bulk_create([User(username="u", phone_number=PHONE)])
    backend = settings.VERIGATOR["BACKENDS"]["default"]
    mistyped = {**backend, "OPTIONS": {**backend["OPTIONS"], "password": "mistyped"}}
    settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": {"default": mistyped}}
    with pytest.raises(CommandError, match='mend "username" and "password"') as caught:
        call_command("verigator_sync", **options)
    assert "run this again" not in str(caught.value)
    assert "mistyped" not in str(caught.value)
    assert caught.value.returncode == 1


@pytest.mark.threat("R35")
def test_verigator_sync__names_failures_and_exits_with_1(service, sandbox, db, capsys):
    User.objects.bulk_create([User(username=f"u{n}", phone_number=f"+3725550001{n}") for n in range(3)])
    sandbox.add_fault("status", status=500, operation="users.create", times=1)
    with pytest.raises(CommandError) as caught:
        call_command("verigator_sync")
    assert caught.value.returncode == 1
    captured = capsys.readouterr()
    assert "registered: 2" in captured.out
    assert "(provider_error)" in captured.err
    call_command("verigator_sync")
    assert "registered: 1" in capsys.readouterr().out


def test_verigator_sync__with_the_provider_down_loses_nothing(service, sandbox, db, capsys):
    User.objects.bulk_create([User(username="u", phone_number=PHONE)])
    sandbox.stop()
    with pytest.raises(CommandError):
        call_command("verigator_sync")
    assert "could not be read: connection" in capsys.readouterr().err
    assert VerigatorUser.objects.get().state == "pending"


@pytest.mark.parametrize("before", ["no link", "no phone", "national number", "another number"])
def test_verigator_status__says_that_the_next_login_takes_the_site_s_number_over(db, before, capsys):
    number = {"national number": "5550 0067", "another number": "+37255500011"}.get(before, "")
    user = User.objects.create_user("bob", phone_number=number)
    User.objects.update(phone_number=PHONE)
    if before == "no link":
        VerigatorUser.objects.all().delete()
    stored = list(VerigatorUser.objects.values())
    call_command("verigator_status", "bob")
    printed = capsys.readouterr().out
    assert "bob: owes the second step" in printed
    assert "number on the site, taken over at the next login: ••• 67" in printed
    assert PHONE not in printed
    assert list(VerigatorUser.objects.values()) == stored
    links.ensure(User.objects.get(pk=user.pk))
    call_command("verigator_status", "bob")
    assert "taken over" not in capsys.readouterr().out


def test_verigator_status__counts_and_shows_one_user(alice, capsys):
    call_command("verigator_status")
    assert "registered: 1" in capsys.readouterr().out
    call_command("verigator_status", "alice")
    printed = capsys.readouterr().out
    assert "alice: owes the second step" in printed
    assert "phone: ••• 67" in printed
    assert PHONE not in printed
    with pytest.raises(CommandError, match='no user "nobody"'):
        call_command("verigator_status", "nobody")


def test_verigator_status__says_what_became_of_messages(alice, browser, capsys):
    give_password(browser)
    Challenge.objects.update(delivery="undelivered", delivery_channel="sms", delivery_error="3\x1b", price="0.07000")
    call_command("verigator_status", "alice")
    assert "its message: undelivered (sms 3" in (printed := capsys.readouterr().out)
    assert "\x1b" not in printed
    call_command("verigator_status")
    assert "messages of the last 24 hours that were undelivered: 1, price 0.07" in capsys.readouterr().out


@pytest.mark.fault("N10")
@pytest.mark.parametrize(
    "command",
    [
        ["verigator_sync"],
        ["verigator_sync", "--due"],
        ["verigator_prune"],
        ["verigator_import", "FILE"],
        ["verigator_reset", "carol", "--unlock"],
        ["verigator_reset", "carol", "--noinput"],
        ["verigator_erase", "carol", "--noinput"],
    ],
)
def test_command_at_verbosity_0__prints_nothing_when_all_went_well(carol, tmp_path, capsys, command):
    file = tmp_path / "users.csv"
    file.write_text(f"username,phone\ncarol,{PHONE}\n")
    arguments = [str(file) if argument == "FILE" else argument for argument in command]
    call_command(*arguments, verbosity=0)
    assert capsys.readouterr() == ("", "")
    call_command(*arguments)
    assert capsys.readouterr().out


# --- names that somebody else chose -----------------------------------------------------------------------------------

EVIL = "\x1b]0;root\x07\nbob\u202e\x9b2J"
SHOWN = r"\x1b]0;root\x07\nbob\u202e\x9b2J"
ODD_NAMES = [
    pytest.param(EVIL, SHOWN, id="escapes"),
    pytest.param(PHONE, "••• 67", id="number"),
    pytest.param("372 5550 0067", "••• 67", id="number-with-blanks"),
    pytest.param("Jürgen", "Jürgen", id="plain"),
]


def assert_nothing_acts(text):
    assert all(line.isprintable() for line in text.split("\n"))
    assert PHONE not in text
    assert "372 5550 0067" not in text
    assert "\nbob" not in text


@pytest.mark.fault("T13")
@pytest.mark.parametrize(("username", "shown"), ODD_NAMES)
@pytest.mark.parametrize("command", ["sync", "sync --json", "status", "reset", "unlock", "missing", "export"])
def test_command__prints_a_name_on_one_line_and_no_number(service, sandbox, db, capsys, command, username, shown):
    user = User(username=username, phone_number=PHONE)
    User.objects.bulk_create([user])
    sandbox.add_fault("status", status=500, operation="users.create", times=1)
    with pytest.raises(CommandError):
        call_command("verigator_sync", "--json" if "json" in command else "-v1")
    said = capsys.readouterr()
    if command == "sync":
        printed = said.err
    elif command == "sync --json":
        printed = json.loads(said.out)["failures"][0]["username"]
    elif command == "missing":
        User.objects.all().delete()
        with pytest.raises(CommandError) as caught:
            call_command("verigator_status", username)
        printed = str(caught.value)
    elif command == "export":
        call_command("verigator_export", username)
        printed = capsys.readouterr().out
        assert json.loads(printed)["user"]["username"] == username
        assert all(line.isprintable() for line in printed.split("\n"))
        return
    elif command == "status":
        call_command("verigator_status", username)
        printed = capsys.readouterr().out
    else:
        call_command("verigator_reset", username, "--unlock" if command == "unlock" else "--noinput")
        printed = capsys.readouterr().out
    assert_nothing_acts(printed)
    assert shown in printed
    assert (f"(id {user.pk})" in printed) == (shown != username and command != "missing")


@pytest.mark.fault("T13")
def test_verigator_import__shows_no_number_of_a_file_without_a_first_line(db, tmp_path):
    file = tmp_path / "users.csv"
    file.write_text(f"username,phone,{PHONE},\x1b[31mred\n")
    with pytest.raises(CommandError, match="names columns that are none of") as caught:
        call_command("verigator_import", str(file))
    assert_nothing_acts(str(caught.value))


@pytest.mark.fault("T13")
@pytest.mark.parametrize(
    ("by", "logged"),
    [
        ("staff", "by=staff"),
        ("two words", "by='two words'"),
        ("x user=1", "by='x user=1'"),
        ("x\nreset user=1 by=root", r"by='x\\nreset user=1 by=root'"),
        (EVIL, rf"by={SHOWN}"),
        (PHONE, "by='••• 67'"),
    ],
)
def test_log__holds_who_did_it_as_one_value(carol, caplog, by, logged):
    support.unlock(carol, by=by)
    (line,) = caplog.messages
    assert line == f"unlocked user={carol.pk} {logged}"


@pytest.mark.fault("T13")
def test_log__holds_a_primary_key_that_is_a_name_as_one_value_and_no_number(carol, caplog):
    for pk in (PHONE, EVIL):
        carol.pk = pk
        events.record("exported", carol, level=logging.WARNING)
    assert caplog.messages == ["exported user='••• 67'", f"exported user={SHOWN}"]
