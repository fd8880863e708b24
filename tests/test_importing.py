"""Moving users in from a file, and one user's data out; and that nothing is left of a deleted one."""

from __future__ import annotations

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from django_verigator.backends import backends, locmem
from django_verigator.exceptions import RequestTimeoutError
from django_verigator.models import Challenge, PhoneChange, RecoveryCode, RemoteDeletion, VerigatorUser
from django_verigator.records import exporting, import_cases, importing, sync
from django_verigator.records.import_rows import Row, Verdict
from tests.site.models import User

from .conftest import PASSWORD, PHONE, give_password, sent_pin

NUMBERS = [f"+3725550{number:04}" for number in range(100)]


@pytest.fixture
def users(db):
    """u0 to u9, in the table only: no signal was sent."""
    User.objects.bulk_create([User(username=f"u{number}") for number in range(10)])
    return {user.username: user for user in User.objects.all()}


@pytest.fixture
def site_has(users):
    def change(name, number):
        User.objects.filter(username=name).update(phone_number=number)

    return change


@pytest.fixture
def run(tmp_path):
    """Write a file and import it; return the exit code, what was printed, and what was refused by line."""

    def call(content, **options):
        path = tmp_path / "users.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        out, err = io.StringIO(), io.StringIO()
        code = 0
        try:
            call_command("verigator_import", str(path), stdout=out, stderr=err, **options)
        except CommandError as error:
            code = error.returncode
            err.write(f"error: {error}\n")
        return code, out.getvalue(), err.getvalue()

    return call


def lines(err):
    """Return the refusals by line number."""
    found = {}
    for text in err.splitlines():
        if text.startswith("line "):
            number, _, rest = text[5:].partition(": ")
            found[int(number)] = Verdict(rest.partition(": ")[2])
    return found


def remote(number):
    return backends.default.register(number, f"old-{number}")


def link(name):
    return VerigatorUser.objects.get(user__username=name)


def test_users_of_verigator__keep_their_records(users, run):
    ids = [remote(number) for number in NUMBERS[:3]]
    content = "username,user_id,phone\n" + "".join(f"u{n},{ids[n]},{NUMBERS[n]}\n" for n in range(3))
    code, out, err = run(content, verify=True)
    assert (code, err) == (0, "")
    assert "new: 3" in out
    found = link("u1")
    assert (found.state, found.verigator_id, found.phone_number) == ("registered", ids[1], NUMBERS[1])
    assert (found.id_in_service, found.confirmed_at) == (None, None)
    call_command("verigator_sync", verbosity=0)
    assert sorted(locmem._memories["default"].phones) == sorted(ids)
    assert VerigatorUser.objects.filter(state="registered").count() == 3


def test_users_from_elsewhere__are_registered_by_the_next_sync(users, run):
    code, _out, _ = run("username,phone\nu0,00372 5550 0000\n")
    assert code == 0
    assert link("u0").state == "pending"
    assert locmem._memories == {}
    call_command("verigator_sync", verbosity=0)
    assert link("u0").state == "registered"
    assert list(locmem._memories["default"].phones.values()) == [NUMBERS[0]]


def test_running_it_twice__changes_nothing(users, run):
    content = f"username,phone,user_id\nu0,{NUMBERS[0]},{remote(NUMBERS[0])}\nu1,{NUMBERS[1]},\n"
    assert run(content)[0] == 0
    before = list(VerigatorUser.objects.values())
    code, out, _ = run(content)
    assert code == 0
    assert "in already: 2" in out
    assert list(VerigatorUser.objects.values()) == before
    call_command("verigator_sync", verbosity=0)
    assert run(content)[0] == 0
    assert not RemoteDeletion.objects.exists()


def test_confirmed__is_a_phone_only_where_the_operator_says_so(users, run, site_has):
    site_has("u0", NUMBERS[7])
    content = f"username,phone\nu0,{NUMBERS[0]}\n"
    code, _, err = run(content)
    assert (code, lines(err)) == (1, {2: Verdict.OTHER_PHONE_ON_SITE})
    assert run(content, confirmed=True)[0] == 0
    assert link("u0").confirmed_at is not None
    call_command("verigator_sync", verbosity=0)
    assert link("u0").phone_number == NUMBERS[0]
    assert sync.sync_all().proposals == 1


def test_phone_that_is_in_already__can_be_confirmed_afterwards(users, run):
    content = f"username,phone\nu0,{NUMBERS[0]}\n"
    run(content)
    trust_version = link("u0").trust_version
    code, out, _ = run(content, confirmed=True)
    assert (code, "changed: 1" in out) == (0, True)
    assert link("u0").confirmed_at is not None
    assert link("u0").trust_version == trust_version


BAD_ROWS = [
    (f"nobody,{NUMBERS[1]},,", Verdict.UNKNOWN_USER),
    ("u1,5550001,,", Verdict.BAD_PHONE),
    ("u1,,,", Verdict.BAD_PHONE),
    ("u1,+870773111632,,", Verdict.NUMBER_REFUSED),
    (f"u1,{NUMBERS[1]},,,,", Verdict.COLUMNS),
    (f"u1,{NUMBERS[1]}", Verdict.COLUMNS),
    (f"u1,{NUMBERS[1]},{'x' * 129},", Verdict.BAD_USER_ID),
    (f"u1,{NUMBERS[1]},a b,", Verdict.BAD_USER_ID),
    (f"u1,{NUMBERS[1]},,name", Verdict.BAD_ID_IN_SERVICE),
    (f"u1,{NUMBERS[1]},id,{'x' * 65}", Verdict.BAD_ID_IN_SERVICE),
    (f"u1,{NUMBERS[1]},taken,", Verdict.USER_ID_TAKEN),
    (f"u1,{NUMBERS[1]},id,taken-name", Verdict.USER_ID_TAKEN),
    (f"u1,{NUMBERS[1]},on-its-way,", Verdict.USER_ID_TAKEN),
    (f"u1,{NUMBERS[1]},to-go,", Verdict.USER_ID_DELETED),
    (f"u2,{NUMBERS[2]},other,", Verdict.OTHER_USER_ID),
    (f"u2,{NUMBERS[3]},,", Verdict.OTHER_PHONE_REGISTERED),
    (f"u3,{NUMBERS[2]},,", Verdict.OTHER_PHONE_CONFIRMED),
    (f"u4,{NUMBERS[4]},id,", Verdict.BUSY),
    (f"u5,{NUMBERS[4]},,", Verdict.OTHER_PHONE_ON_SITE),
    (f'u1,"{NUMBERS[1]}"x,,', Verdict.MALFORMED),
    (f"u1\x00,{NUMBERS[1]},,", (Verdict.ENCODING, Verdict.MALFORMED)),
    (f"u1\x1b[2J,{NUMBERS[1]},,", Verdict.ENCODING),
    (f"ü,{NUMBERS[1]},,".encode("latin-1"), Verdict.ENCODING),
]


@pytest.mark.parametrize(("row", "verdict"), BAD_ROWS, ids=[f"{case}" for case in range(len(BAD_ROWS))])
def test_bad_row__is_named_and_stops_everything_unless_it_is_skipped(users, run, site_has, row, verdict):
    now = timezone.now()
    stored = VerigatorUser.objects.create
    stored(
        user=users["u9"], phone_number=NUMBERS[9], verigator_id="taken", id_in_service="taken-name", state="registered"
    )
    stored(user=users["u2"], phone_number=NUMBERS[2], verigator_id="mine", state="registered")
    stored(user=users["u3"], phone_number=NUMBERS[3], confirmed_at=now, state="repair")
    stored(user=users["u4"], phone_number=NUMBERS[4], state="pending", leased_until=now + timedelta(seconds=30))
    site_has("u5", NUMBERS[5])
    PhoneChange.objects.create(
        user=users["u9"], phone_number=NUMBERS[8], id_in_service="new", verigator_id="on-its-way", expires_at=now
    )
    RemoteDeletion.objects.create(verigator_id="to-go")
    before = list(VerigatorUser.objects.order_by("pk").values())
    raw = row if isinstance(row, bytes) else row.encode()
    content = b"username,phone,user_id,id_in_service\nu6," + NUMBERS[6].encode() + b",six,\n" + raw + b"\n"

    code, out, err = run(content)
    assert code == 1
    assert lines(err).keys() == {3}
    assert lines(err)[3] in (verdict if isinstance(verdict, tuple) else (verdict,))
    assert "Nothing was written" in err
    assert list(VerigatorUser.objects.order_by("pk").values()) == before
    assert [number for number in NUMBERS if number in out + err] == []
    assert "\x1b" not in err

    code, out, err = run(content, skip_refused=True)
    assert code == 1
    assert err.count("line 3") == 1
    assert "new: 1" in out
    assert link("u6").verigator_id == "six"
    assert list(VerigatorUser.objects.exclude(user__username="u6").order_by("pk").values()) == before


def test_dry_run__writes_nothing_and_says_whether_it_would(users, run):
    assert run(f"username,phone\nu0,{NUMBERS[0]}\n", dry_run=True)[0] == 0
    assert run("username,phone\nu0,none\n", dry_run=True)[0] == 1
    assert not VerigatorUser.objects.exists()


def test_UserID_for_two_users__is_refused_for_both(users, run):
    content = f"username,phone,user_id\nu0,{NUMBERS[0]},same\nu1,{NUMBERS[1]},same\nu2,{NUMBERS[2]},other\n"
    _code, _out, err = run(content, skip_refused=True)
    assert lines(err) == {2: Verdict.USER_ID_TWICE, 3: Verdict.USER_ID_TWICE}
    assert [found.user.username for found in VerigatorUser.objects.all()] == ["u2"]


def test_user_in_two_rows__is_refused_in_both(users, run):
    content = f"username,phone\nu0,{NUMBERS[0]}\n u0 ,{NUMBERS[1]}\n"
    _code, _, err = run(content, skip_refused=True)
    assert lines(err) == {2: Verdict.USER_TWICE, 3: Verdict.USER_TWICE}
    assert not VerigatorUser.objects.exists()


@pytest.mark.parametrize(
    "content",
    [
        f"username,phone\r\nu0,{NUMBERS[0]}\r\n".encode("utf-8-sig"),
        f"Phone;Username\n{NUMBERS[0]};u0".encode(),
        f'"username"\t"phone"\n"u0"\t"{NUMBERS[0]}"\n\n'.encode(),
    ],
    ids=["bom", "semicolons", "tabs"],
)
def test_file__may_come_from_a_spreadsheet(users, run, content):
    assert run(content)[0] == 0
    assert link("u0").phone_number == NUMBERS[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "must name the columns"),
        (b"u0,+37255500000\n", "must name the columns"),
        (b"username,phone,email\n", "none of username, phone, user_id, id_in_service: email."),
        (b"username,phone,phone\n", "twice"),
        ("username,phone\n".encode("utf-16"), "must name the columns"),
    ],
)
def test_first_line__must_name_the_columns(users, run, content, said):
    code, _, err = run(content)
    assert code == 1
    assert said in err


@pytest.mark.parametrize("head", ["Username;UserID;Phone", "username,user id,phone_number", "USER NAME,user-id,Phone"])
def test_first_line__is_read_however_its_names_are_written(users, run, head):
    delimiter = ";" if ";" in head else ","
    content = f"{head}\nu0{delimiter}abc{delimiter}{NUMBERS[0]}\n"
    assert run(content)[0] == 0
    assert (link("u0").verigator_id, link("u0").phone_number) == ("abc", NUMBERS[0])


def test_file_that_cannot_be_read__is_said_without_a_traceback(users, run, db):
    with pytest.raises(CommandError, match="FileNotFoundError"):
        call_command("verigator_import", "/nowhere/users.csv")
    assert "LookupError" in run("username,phone\n", encoding="klingon")[2]


def test_verify__asks_the_provider_once_and_refuses_what_it_does_not_know(users, run, monkeypatch):
    known = remote(NUMBERS[0])
    content = f"username,phone,user_id\nu0,{NUMBERS[0]},{known}\nu1,{NUMBERS[1]},gone\n"
    assert lines(run(content, verify=True)[2]) == {3: Verdict.UNKNOWN_USER_ID}

    def fail():
        raise RequestTimeoutError

    monkeypatch.setattr(backends.default, "users", fail)
    code, _, err = run(content, verify=True)
    assert (code, "timeout" in err) == (1, True)
    assert not VerigatorUser.objects.exists()


def test_provider_without_records__takes_no_UserIDs(users, run, settings):
    entry = {**settings.VERIGATOR["BACKENDS"]["default"], "OPTIONS": {"keeps_users": False}}
    settings.VERIGATOR = {**settings.VERIGATOR, "BACKENDS": {"default": entry}}
    _, _, err = run(f"username,phone,user_id\nu0,{NUMBERS[0]},x\nu1,{NUMBERS[1]},\n")
    assert lines(err) == {2: Verdict.NO_RECORDS}


def test_numbers_in_the_wrong_column__are_masked(users, run):
    _, _, err = run(f"username,phone\n{NUMBERS[12]},u0\n5550 0013,u1\n")
    assert "line 2: ••• 12: there is no such user" in err
    assert "0013" not in err


def test_names__are_found_as_the_site_s_logins_find_them(users, run, monkeypatch):
    manager = type(User._default_manager)
    monkeypatch.setattr(manager, "get_by_natural_key", lambda self, name: self.get(username__iexact=name))
    assert run(f"username,phone\nU0,{NUMBERS[0]}\n")[0] == 0
    assert link("u0").phone_number == NUMBERS[0]
    _, _, err = run(f"username,phone\nu1,{NUMBERS[1]}\nU1,{NUMBERS[2]}\n")
    assert lines(err) == {3: Verdict.USER_TWICE}


def test_interrupted_import__is_done_again_from_where_it_was(users, monkeypatch):
    monkeypatch.setattr(importing, "BATCH", 2)
    rows = [Row(number + 2, f"u{number}", NUMBERS[number], f"id{number}") for number in range(10)]
    calls = []
    real = import_cases.write

    def fail(cases):
        calls.append(len(cases))
        if len(calls) == 4:
            raise KeyboardInterrupt
        real(cases)

    monkeypatch.setattr(import_cases, "write", fail)
    with pytest.raises(KeyboardInterrupt):
        importing.import_users(lambda: rows)
    assert VerigatorUser.objects.count() == 6
    monkeypatch.setattr(import_cases, "write", real)
    report = importing.import_users(lambda: iter(rows))
    assert (report.counts[Verdict.NEW], report.counts[Verdict.UNCHANGED], report.refused) == (4, 6, 0)
    assert VerigatorUser.objects.filter(state="registered").count() == 10


def test_user_taken_meanwhile__costs_the_others_of_the_batch_nothing(users, monkeypatch):
    rows = [Row(number + 2, f"u{number}", NUMBERS[number], f"id{number}") for number in range(4)]
    real, calls = importing._Importer._cases, []

    def race(self, batch):
        cases = real(self, batch)
        calls.append(len(batch))
        if len(calls) == 2:  # judged for the second time, and about to be written
            store = VerigatorUser.objects.create
            store(user=users["u1"], phone_number=NUMBERS[1], state="pending")
            store(user=users["u8"], phone_number=NUMBERS[8], verigator_id="id2", state="registered")
        return cases

    monkeypatch.setattr(importing._Importer, "_cases", race)
    refused = {}
    report = importing.import_users(lambda: rows, refuse=lambda row, verdict: refused.update({row.line: verdict}))
    assert refused == {4: Verdict.USER_ID_TAKEN}
    assert (report.counts[Verdict.NEW], report.counts[Verdict.CHANGED]) == (2, 1)
    assert link("u1").verigator_id == "id1"


@pytest.mark.threat("R18")
def test_record_of_a_lost_reply__that_is_moved_in_by_its_UserID_is_not_deleted(users, run, site_has, monkeypatch):
    site_has("u0", NUMBERS[0])
    real = backends.default.register

    def lose_the_reply(*args, **kwargs):
        real(*args, **kwargs)
        raise RequestTimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(backends.default, "register", lose_the_reply)
        sync.sync_user(User.objects.get(username="u0"))
    (user_id,) = locmem._memories["default"].phones
    assert run(f"username,phone,user_id\nu0,{NUMBERS[0]},{user_id}\n")[0] == 0
    report = sync.sync_all()
    assert report.is_complete
    assert list(locmem._memories["default"].phones) == [user_id] == [link("u0").verigator_id]
    assert not RemoteDeletion.objects.exists()


def test_import__sends_nothing_and_needs_few_statements(users, run, django_assert_max_num_queries):
    content = "username,phone,user_id\n" + "".join(f"u{n},{NUMBERS[n]},id{n}\n" for n in range(10))
    with django_assert_max_num_queries(20):
        assert run(content)[0] == 0
    assert locmem.outbox == []


# --- out --------------------------------------------------------------------------------------------------------------


def export(capsys, *arguments, **options):
    capsys.readouterr()
    call_command("verigator_export", *arguments, **options)
    return json.loads(capsys.readouterr().out)


def test_export__has_all_of_one_user_and_no_secret(alice, browser, capsys, caplog):
    give_password(browser)
    pin = sent_pin()
    browser.post("/accounts/verify/", {"pin": pin})
    codes = browser.post("/accounts/security/recovery-codes/", {"password": PASSWORD}).context_data["codes"]
    browser.post("/accounts/security/phone/", {"phone": NUMBERS[5], "password": PASSWORD})
    other = User.objects.create_user("other", phone_number=NUMBERS[6])
    User.objects.filter(pk=alice.pk).update(phone_number=NUMBERS[7])

    caplog.set_level("INFO", "django_verigator")
    data = export(capsys, "alice")

    assert f"exported user={alice.pk}" in caplog.text
    assert PHONE not in caplog.text
    assert data["user"] == {"id": str(alice.pk), "username": "alice"}
    assert data["link"]["phone_number"] == PHONE
    assert data["link"]["verigator_id"] == alice.verigator.verigator_id
    assert data["number_proposed_by_the_site"] == NUMBERS[7]
    assert [change["phone_number"] for change in data["phone_changes"]] == [NUMBERS[5]]
    assert [challenge["outcome"] for challenge in data["challenges"]] == ["verified", "sent"]
    assert len(data["recovery_codes"]) == 10
    text = json.dumps(data)
    challenge = Challenge.objects.order_by("created_at").first()
    stored = VerigatorUser.objects.get(user=alice)
    secrets = [
        *codes,
        stored.trust_version,
        stored.last_pin,
        challenge.nonce_digest,
        challenge.phone_digest,
        challenge.auth_hash,
    ]
    secrets += RecoveryCode.objects.values_list("digest", flat=True)
    assert all(secrets)
    assert [secret for secret in secrets if str(secret) in text] == []
    assert f'"{pin}"' not in text
    assert NUMBERS[6] not in text
    assert other.pk


def test_export__of_a_user_without_a_link_or_of_nobody(carol, capsys):
    VerigatorUser.objects.all().delete()
    assert export(capsys, "carol")["link"] is None
    with pytest.raises(CommandError, match='no user "nobody"'):
        call_command("verigator_export", "nobody")


def test_export__leaves_no_column_out_by_chance():

    kept_back = {
        VerigatorUser: {
            "id",
            "user",
            "attempts",
            "next_attempt_at",
            "leased_until",
            "trust_version",
            "failures_auth_hash",
        }
        | {"last_pin", "last_pin_at", "site_phone_digest"},
        PhoneChange: {"id", "user"},
        RecoveryCode: {"id", "user", "digest"},
        Challenge: {
            "id",
            "user",
            "nonce_digest",
            "step",
            "sends",
            "auth_backend",
            "auth_hash",
            "trust_version",
            "next_url",
        }
        | {"password_given", "requested_method", "reference", "phone_digest", "phone_change", "resend_at"}
        | {"superseded_at", "last_form", "reference_digest", "message_id", "price", "report_asked_at"},
    }
    names = {
        VerigatorUser: exporting._LINK,
        PhoneChange: exporting._CHANGE,
        RecoveryCode: exporting._CODE,
        Challenge: exporting._CHALLENGE,
    }
    for model, left_out in kept_back.items():
        assert {field.name for field in model._meta.fields} == set(names[model]) | left_out


# --- gone -------------------------------------------------------------------------------------------------------------


@pytest.mark.threat("R37")
@pytest.mark.parametrize("how", ["model", "queryset"])
def test_deleted_user__is_shown_to_be_gone_here_and_there(alice, browser, capsys, caplog, monkeypatch, how):
    caplog.set_level("INFO", "django_verigator")
    give_password(browser)
    browser.post("/accounts/verify/", {"pin": sent_pin()})
    user_id = export(capsys, "alice")["link"]["verigator_id"]
    with monkeypatch.context() as patch:
        patch.setattr(backends.default, "unregister", _down)
        patch.setattr(backends.default, "exists", _down)
        alice.delete() if how == "model" else User.objects.filter(pk=alice.pk).delete()
        # Here everything is gone at once, the phone too, although the provider is down.
        assert not VerigatorUser.objects.exists()
        assert not Challenge.objects.exists()
        with pytest.raises(CommandError, match="is left to do"):
            call_command("verigator_sync", due=True, verbosity=0)
        with pytest.raises(CommandError, match="timeout"):
            call_command("verigator_export", deleted=user_id)
    with pytest.raises(CommandError, match="Something is left"):
        call_command("verigator_export", deleted=user_id)
    RemoteDeletion.objects.update(next_attempt_at=timezone.now())
    call_command("verigator_sync", due=True, verbosity=0)
    assert f"record_deleted verigator_id={user_id}" in caplog.text
    assert export(capsys, deleted=user_id) == {
        "verigator_id": user_id,
        "here": {"links": 0, "phone_changes": 0, "challenges": 0, "deletions_waiting": 0},
        "at_the_provider": False,
    }


@pytest.mark.threat("R37")
def test_users_deleted_in_the_admin__leave_their_deletions(alice, browser, db):
    boss = User.objects.create_superuser("boss", password=PASSWORD)
    User.objects.create_user("bob", phone_number=NUMBERS[1])
    browser.force_login(boss)
    call_command("verigator_sync", verbosity=0)
    ids = set(VerigatorUser.objects.exclude(verigator_id=None).values_list("verigator_id", flat=True))
    pks = list(User.objects.exclude(pk=boss.pk).values_list("pk", flat=True))
    browser.post("/admin/site/user/", {"action": "delete_selected", "_selected_action": pks, "post": "yes"})
    assert User.objects.count() == 1
    assert set(RemoteDeletion.objects.values_list("verigator_id", flat=True)) == ids
    assert not VerigatorUser.objects.exclude(user=boss).exists()


def _down(*args, **kwargs):
    raise RequestTimeoutError


def test_record_in_force__is_never_deleted_by_a_note_about_it(alice):
    user_id = alice.verigator.verigator_id
    RemoteDeletion.objects.schedule(user_id, None)
    call_command("verigator_sync", verbosity=0)
    assert user_id in locmem._memories["default"].phones
    assert not RemoteDeletion.objects.exists()
