"""What support sees and does."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from http import HTTPStatus
from types import ModuleType

import pytest
from django.contrib import admin
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.models import Permission
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import include, path
from django.utils import timezone

from django_verigator.admin import SecondFactorMixin, VerigatorUserAdmin, sync_with_verigator
from django_verigator.backends import backends, locmem
from django_verigator.exceptions import InvalidDataError, RequestTimeoutError
from django_verigator.flows import recovery
from django_verigator.flows import support as support_desk
from django_verigator.flows.session import PROOF_KEY
from django_verigator.models import Challenge, RecoveryCode, SyncRun, VerigatorUser
from django_verigator.testing import login_verified
from tests.site.models import User

from .conftest import PHONE, give_password, sent_pin

pytestmark = pytest.mark.usefixtures("pins")
USERS = "/admin/site/user/"
LINKS = "/admin/django_verigator/verigatoruser/"
CHALLENGES = "/admin/django_verigator/challenge/"


@pytest.fixture
def support(db, browser):
    """A superuser, signed in."""
    user = User.objects.create_superuser("support", password="x")
    login_verified(browser, user)
    return user


def run_action(client, url, *pks, action="sync_with_verigator", **data):
    return client.post(url, {"action": action, "_selected_action": pks, **data})


def messages_of(response):
    return [str(message) for message in get_messages(response.wsgi_request)]


def test_action__is_on_the_stock_user_admin_and_on_the_links():
    assert sync_with_verigator in admin.site.get_model_admin(User).actions
    assert sync_with_verigator in admin.site.get_model_admin(VerigatorUser).actions


def test_action_on_users__registers_repairs_and_reports_each_kind(alice, carol, support, browser, monkeypatch):
    User.objects.bulk_create([User(username=name, phone_number=f"+3725550{name}") for name in ("0011", "0012")])
    gone = User.objects.create(username="gone", phone_number="+37255500013")
    link = VerigatorUser.objects.get(user=gone)
    link.state, link.verigator_id, link.id_in_service = "registered", "no-such-id", "x"
    link.save()
    refused = User.objects.create(username="refused", phone_number="+37255500014")
    slow = User.objects.create(username="slow", phone_number="+37255500015")
    real = backends.default.register

    def register(phone_number, *args, **kwargs):
        if phone_number.endswith("14"):
            raise InvalidDataError(status=422)
        if phone_number.endswith("15"):
            raise RequestTimeoutError
        return real(phone_number, *args, **kwargs)

    monkeypatch.setattr(backends.default, "register", register)
    users = User.objects.exclude(pk=support.pk)
    response = run_action(browser, USERS, *(user.pk for user in users))
    told = messages_of(response)
    for part in ("registered: 2", "repaired: 1", "already in order: 1", "without a phone: 1",
                 "number refused: 1", "to be tried again later: 1"):  # fmt: skip
        assert part in told[0]
    assert "refused (invalid_data)" in told[1]
    assert "slow (timeout)" in told[1]
    assert refused.pk
    assert slow.pk


def test_action_on_links__does_the_same(alice, support, browser):
    locmem.reset()
    told = messages_of(run_action(browser, LINKS, alice.verigator.pk))
    assert told == ["repaired: 1"]


@pytest.mark.threat("R36")
def test_action__leaves_more_than_the_limit_to_the_next_sync(support, browser, settings):
    settings.VERIGATOR = {**settings.VERIGATOR, "ADMIN_SYNC_LIMIT": 2}
    # Some of them have no link yet: they are left as well.
    User.objects.bulk_create([User(username=f"u{n}", phone_number=f"+3725550001{n}") for n in range(5)])
    for user in User.objects.filter(username__in=("u0", "u3")):
        VerigatorUser.objects.create(user=user, phone_number=user.phone_number, state="pending")
    told = messages_of(run_action(browser, USERS, *(u.pk for u in User.objects.exclude(pk=support.pk))))
    assert told == ["registered: 2", "3 more users are left to the next run of verigator_sync."]
    assert VerigatorUser.objects.filter(state="registered").count() == 2


class OwnUserAdmin(SecondFactorMixin, UserAdmin):
    """As a site has it."""


@pytest.fixture
def own_site(settings):
    """An admin site with the site's own user admin, in the place of the stock one."""
    own = admin.AdminSite()
    own.register(User, OwnUserAdmin)

    def serve():
        urls = ModuleType("urls")
        urls.urlpatterns = [path("admin/", own.urls), path("accounts/", include("django_verigator.urls"))]
        settings.ROOT_URLCONF = urls

    own.serve = serve
    return own


@pytest.mark.fault("X10")
def test_stock_user_admin__gets_the_action_and_nothing_else():
    stock, pristine = admin.site.get_model_admin(User), UserAdmin(User, admin.AdminSite())
    assert {name for name in vars(stock) if vars(stock)[name] != vars(pristine).get(name)} == {"admin_site", "actions"}
    assert stock.actions == [sync_with_verigator]


@pytest.mark.fault("X10")
def test_own_user_admin__works_where_the_phone_links_have_no_page(alice, support, browser, own_site):
    own_site.serve()
    for url in (USERS, f"{USERS}{alice.pk}/change/", f"{USERS}add/"):
        page = browser.get(url)
        assert page.status_code == HTTPStatus.OK
        assert "/verigatoruser/" not in page.content.decode()
    assert "registered, " in browser.get(USERS).content.decode()


def test_own_user_admin__shows_the_link_masked(alice, support, browser, own_site):
    own_site.register(VerigatorUser, VerigatorUserAdmin)
    own_site.serve()
    VerigatorUser.objects.update(last_error="timeout")
    page = browser.get(f"/admin/site/user/{alice.pk}/change/").content.decode()
    assert "registered, " in page
    assert f'<a href="/admin/django_verigator/verigatoruser/{alice.verigator.pk}/change/">' in page
    assert ", timeout</a>" in page
    with CaptureQueriesContext(connection) as watched:
        listed = browser.get(USERS).content.decode()
    assert listed.count("verigatoruser/") >= 1
    # MariaDB quotes names in its own way.
    links = [query for query in watched if query["sql"][8:].startswith("django_verigator_verigatoruser")]
    assert len(links) == 1  # for all users of the page
    own_user_admin = own_site.get_model_admin(User)
    shown = own_user_admin.second_step(alice)
    assert PHONE not in shown
    assert PHONE[-2:] in shown
    assert own_user_admin.second_step(User(pk=0)) == "-"


@pytest.mark.fault("X10")
def test_own_user_admin__selects_what_the_site_says(support, browser, own_site, monkeypatch):
    monkeypatch.setattr(OwnUserAdmin, "list_select_related", True)
    own_site.serve()
    assert browser.get(USERS).context_data["cl"].queryset.query.select_related is True


@pytest.mark.threat("R36")
def test_action__ends_in_time_where_the_provider_is_slow(support, browser, settings, monkeypatch):
    User.objects.bulk_create([User(username=f"u{n}", phone_number=f"+3725550001{n}") for n in range(6)])
    for user in User.objects.exclude(pk=support.pk):
        VerigatorUser.objects.create(user=user, phone_number=user.phone_number, state="pending")
    given: list[float] = []

    def slow(self, phone_number, id_in_service, *, timeout):
        given.append(timeout)
        time.sleep(min(timeout, 0.3))
        raise RequestTimeoutError("no answer")

    monkeypatch.setattr(locmem.LocMemBackend, "register", slow)
    monkeypatch.setattr("django_verigator.admin.actions._SYNC_SECONDS", 0.5)
    told = messages_of(run_action(browser, USERS, *(u.pk for u in User.objects.exclude(pk=support.pk))))
    assert 1 <= len(given) <= 2
    assert max(given) <= 0.5
    assert told[-1] == f"{6 - len(given)} more users are left to the next run of verigator_sync."


@pytest.mark.threat("J09")
def test_action__needs_the_change_permission_on_links(alice, db, browser):
    helper = User.objects.create_user("helper", is_staff=True)
    names = ["view_user", "change_user", "view_verigatoruser"]
    helper.user_permissions.set(Permission.objects.filter(codename__in=names))
    browser.force_login(helper)
    VerigatorUser.objects.filter(user=alice).update(state="pending")
    assert run_action(browser, USERS, alice.pk).status_code == HTTPStatus.FORBIDDEN
    assert run_action(browser, LINKS, alice.verigator.pk).status_code == HTTPStatus.FORBIDDEN
    assert VerigatorUser.objects.get(user=alice).state == "pending"


@pytest.mark.threat("F10")
def test_admin__shows_masked_phones_and_no_secret(alice, support, browser):
    client = Client()
    give_password(client)
    pin = sent_pin()
    client.post("/accounts/verify/", {"pin": pin})
    challenge = Challenge.objects.get()
    pages = [
        LINKS,
        f"{LINKS}{alice.verigator.pk}/change/",
        CHALLENGES,
        f"{CHALLENGES}{challenge.pk}/change/",
    ]
    for url in pages:
        response = browser.get(url)
        assert response.status_code == HTTPStatus.OK
        page = response.content.decode()
        assert "••• 67" in page
        for secret in (PHONE, PHONE[1:], f">{pin}<", challenge.nonce_digest, alice.verigator.trust_version):
            assert secret not in page


@pytest.mark.threat("F10")
@pytest.mark.parametrize(
    ("page", "lookup"),
    [
        (LINKS, "phone_number__startswith"),
        (LINKS, "epoch__startswith"),
        (LINKS, "last_pin"),
        (LINKS, "user__phone_number__startswith"),
        (CHALLENGES, "nonce_digest__startswith"),
        (CHALLENGES, "auth_hash__startswith"),
        (CHALLENGES, "phone_digest"),
        (CHALLENGES, "phone_change__phone_number__startswith"),
        (CHALLENGES, "user__verigator__phone_number__startswith"),
    ],
)
def test_admin__answers_no_question_about_what_it_does_not_show(alice, support, browser, page, lookup):
    assert browser.get(page, {lookup: "+"}).status_code == HTTPStatus.BAD_REQUEST


def test_links_and_challenges__are_filtered_by_what_is_shown(alice, support, browser):
    give_password(Client())
    today = timezone.now()
    for page, lookups in (
        (LINKS, {"state__exact": "registered", "confirmed_at__isempty": 1}),
        (LINKS, {"user__id__exact": alice.pk}),
        (LINKS, {"q": "alice"}),
        (CHALLENGES, {"outcome__exact": "sent", "purpose__exact": "login", "method__exact": "sms"}),
        (CHALLENGES, {"created_at__year": today.year, "created_at__month": today.month}),
        (CHALLENGES, {"user__id__exact": alice.pk}),
        (CHALLENGES, {"q": "127.0.0.1"}),
    ):
        assert browser.get(page, lookups).context_data["cl"].result_count == 1


def test_challenges__come_newest_first(alice, support, browser):
    now = timezone.now()
    for minutes in (2, 0, 3, 1):
        Challenge.objects.create(user=alice, nonce_digest=str(minutes), created_at=now - timedelta(minutes=minutes))
    shown = browser.get(CHALLENGES).context_data["cl"].result_list
    assert [challenge.nonce_digest for challenge in shown] == ["0", "1", "2", "3"]


@pytest.mark.fault("X15")
def test_challenges__are_listed_by_a_database_that_knows_no_time_zones(alice, support, browser, settings, monkeypatch):
    settings.TIME_ZONE = "Europe/Tallinn"
    give_password(Client())
    assert browser.get(CHALLENGES, {"created_at__year": timezone.now().year}).context_data["cl"].result_count == 1
    monkeypatch.setattr(connection.features, "has_zoneinfo_database", False)
    page = browser.get(CHALLENGES)
    assert page.context_data["cl"].result_count == 1
    assert "created_at__year" not in page.content.decode()


def test_link__says_of_its_user_what_the_command_says(alice, support, browser):
    page = browser.get(f"{LINKS}{alice.verigator.pk}/change/").content.decode()
    assert re.search(r"<h2>\s*alice\s*</h2>", page)
    assert "owes the second step" in page.lower()
    assert 'alt="True"' in page
    recovery.renew(alice)
    give_password(Client())
    page = browser.get(f"{LINKS}{alice.verigator.pk}/change/").content.decode()
    fields = dict(re.findall(r"<label>([^<]+?):?</label>\s*<div class=\"readonly\">(.*?)</div>", page, re.DOTALL))
    assert fields["Recovery codes left"] == "10"
    assert fields["Last challenge"].startswith("sent, ")


WEAKENING = ("reset_second_factor", "unlock", "issue_recovery_code")


def weaken(client, action, user, **data):
    return run_action(client, LINKS, user.verigator.pk, action=action, post="yes", **data)


@pytest.fixture
def nothing_done(alice):
    """What support must not have done to Alice, for the asking."""
    VerigatorUser.objects.update(consecutive_failures=3)
    trust_version = VerigatorUser.objects.get(user=alice).trust_version

    def check():
        link = VerigatorUser.objects.get(user=alice)
        assert (link.trust_version, link.consecutive_failures, link.phone_number) == (trust_version, 3, PHONE)
        assert not RecoveryCode.objects.exists()

    return check


@pytest.mark.fault("T01")
@pytest.mark.parametrize("action", WEAKENING)
def test_what_weakens_an_account__asks_for_a_fresh_proof(alice, nothing_done, support, browser, action):
    support.phone_number = "+37255500010"
    support.save()
    login_verified(browser, support)
    session = browser.session
    session[PROOF_KEY] = {**session[PROOF_KEY], "at": int(time.time()) - 301}
    session.save()
    response = weaken(browser, action, alice)
    assert response["Location"] == "/accounts/verify/"
    nothing_done()
    browser.post("/accounts/verify/resend/")
    assert browser.post("/accounts/verify/", {"pin": sent_pin()})["Location"] == LINKS
    assert "Then choose the action again." in browser.get(LINKS).content.decode()
    assert "Location" not in weaken(browser, action, alice) or action != "issue_recovery_code"
    with pytest.raises(AssertionError):
        nothing_done()


@pytest.mark.fault("T01")
@pytest.mark.parametrize("action", WEAKENING)
def test_what_weakens_an_account__makes_staff_without_a_phone_enrol_one(alice, nothing_done, support, browser, action):
    browser.force_login(support)
    assert weaken(browser, action, alice)["Location"].startswith("/accounts/enrol/?next=")
    nothing_done()


@pytest.mark.fault("X10")
def test_pages_of_the_actions__bring_their_own_style_for_skins_that_leave_buttons_none(alice, support, browser):
    for action in ("reset_second_factor", "issue_recovery_code"):
        page = run_action(browser, LINKS, alice.verigator.pk, action=action).content.decode()
        assert "/django_verigator/admin.css" in page
        assert 'class="verigator-page"' in page


@pytest.mark.fault("T01")
def test_code__is_never_one_s_own(support, browser):
    VerigatorUser.objects.get_or_create(user=support)
    assert "You may not do this for: support" in messages_of(weaken(browser, "issue_recovery_code", support))[0]
    assert not RecoveryCode.objects.exists()


@pytest.mark.fault("T01")
@pytest.mark.parametrize("action", WEAKENING)
def test_support_that_is_no_superuser__does_nothing_to_one(alice, nothing_done, browser, action):
    User.objects.filter(pk=alice.pk).update(is_superuser=True)
    helper = User.objects.create_user("helper", is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename__endswith="verigatoruser"))
    helper.user_permissions.add(Permission.objects.get(codename="reset_second_factor"))
    login_verified(browser, helper)
    assert messages_of(weaken(browser, action, alice)) == ["You may not do this for: alice"]
    nothing_done()


@pytest.mark.fault("P05")
def test_code_page__that_is_loaded_again_issues_no_other_code(alice, support, browser):
    token = "t" * 64
    assert "code" in weaken(browser, "issue_recovery_code", alice, csrfmiddlewaretoken=token).context
    response = weaken(browser, "issue_recovery_code", alice, csrfmiddlewaretoken=token)
    assert messages_of(response) == ["This code was shown already. Choose the action again."]
    assert RecoveryCode.objects.count() == 1
    weaken(browser, "issue_recovery_code", alice, csrfmiddlewaretoken="u" * 64)
    assert RecoveryCode.objects.count() == 2


def test_history_of_a_link__is_that_of_its_user(alice, support, browser):
    run_action(browser, LINKS, alice.verigator.pk, action="unlock")
    history = f"{LINKS}{alice.verigator.pk}/history/"
    assert "Second factor unlocked." in browser.get(history, follow=True).content.decode()
    helper = User.objects.create_user("helper", is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename="view_verigatoruser"))
    browser.force_login(helper)
    assert browser.get(history).status_code == HTTPStatus.OK, "who may not see users sees the link's own, empty"


def test_link__cannot_be_saved_over_what_happened_meanwhile(alice, support, browser, monkeypatch):
    change = f"{LINKS}{alice.verigator.pk}/change/"
    page = browser.get(change).content.decode()
    assert "_save" not in page
    assert "_continue" not in page
    found = VerigatorUserAdmin.get_object

    def and_then_reset(self, *args):
        link = found(self, *args)
        support_desk.reset(alice, by="somebody else")
        return link

    monkeypatch.setattr(VerigatorUserAdmin, "get_object", and_then_reset)
    browser.post(change, {"_save": "Save"})
    assert VerigatorUser.objects.get(user=alice).phone_number == ""


def test_links_and_challenges__cannot_be_added_changed_or_deleted_by_themselves(alice, support, browser):
    for url in (f"{LINKS}add/", f"{LINKS}{alice.verigator.pk}/delete/", "/admin/django_verigator/challenge/add/"):
        assert browser.get(url).status_code == HTTPStatus.FORBIDDEN
    browser.post(f"{LINKS}{alice.verigator.pk}/change/", {"phone_number": "+37255500099", "state": "failed"})
    link = VerigatorUser.objects.get(user=alice)
    assert (link.phone_number, link.state) == (PHONE, "registered")
    response = browser.post(LINKS, {"action": "delete_selected", "_selected_action": [link.pk], "post": "yes"})
    assert VerigatorUser.objects.filter(pk=link.pk).exists()
    assert response.status_code != HTTPStatus.INTERNAL_SERVER_ERROR


def test_user_with_a_link__can_be_deleted_by_support_who_may_delete_users(alice, browser, db):
    helper = User.objects.create_user("helper", is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename__in=["view_user", "delete_user"]))
    browser.force_login(helper)
    assert browser.post(f"{USERS}{alice.pk}/delete/", {"post": "yes"}).status_code == HTTPStatus.FOUND
    assert not User.objects.filter(pk=alice.pk).exists()


def test_staff_user_with_a_phone__reaches_the_admin_when_verified(alice, browser):
    alice.is_staff = alice.is_superuser = True
    alice.save()
    browser.force_login(alice)
    assert browser.get("/admin/")["Location"] == "/accounts/verify/"
    login_verified(browser, alice)
    assert browser.get("/admin/").status_code == HTTPStatus.OK


# --- at a glance ------------------------------------------------------------------------------------------------------


@pytest.fixture
def crowd(db):
    """Links in every state, some with an error."""
    wanted = [("registered", "", 5), ("pending", "", 1), ("pending", "timeout", 3), ("repair", "provider_error", 2)]
    wanted += [("failed", "invalid_data", 2), ("failed", "invalid_phone", 1)]
    number = 0
    for state, error, count in wanted:
        for _ in range(count):
            number += 1
            user = User.objects.create(username=f"c{number}")
            VerigatorUser.objects.filter(user=user).update(state=state, last_error=error)


def states_shown(page):
    found = re.findall(r'state__exact=(\w+)(?:&amp;last_error=(\w+))?">(?:<b>)?(.+?)</a>', page)
    return {(state, error): int(re.search(r"\d+", text)[0]) for state, error, text in found if re.search(r"\d", text)}


def test_links__show_at_a_glance_how_many_are_in_which_state_and_why(crowd, support, browser):
    page = browser.get(LINKS).content.decode()
    assert states_shown(page) == {
        ("registered", ""): 5,
        ("pending", ""): 4,
        ("pending", "timeout"): 3,
        ("repair", ""): 2,
        ("repair", "provider_error"): 2,
        ("failed", ""): 3,
        ("failed", "invalid_data"): 2,
        ("failed", "invalid_phone"): 1,
        ("no_phone", ""): 1,  # the supporter
    }
    assert "django_verigator/admin.css" in page
    assert "style=" not in page.split("verigator-glance")[1].split("</section>")[0]


def test_links__are_filtered_as_the_numbers_say(crowd, support, browser):
    page = browser.get(f"{LINKS}?state__exact=pending&last_error=timeout")
    assert page.context_data["cl"].result_count == 3
    assert browser.get(f"{LINKS}?last_error=no-such-error").context_data["cl"].result_count == 0
    assert browser.get(f"{LINKS}?confirmed_at__isempty=1").context_data["cl"].result_count == 15


def test_links__take_the_same_few_statements_however_many_there_are(crowd, support, browser):
    browser.get(LINKS)
    with CaptureQueriesContext(connection) as captured:
        browser.get(LINKS)
    ours = [query["sql"] for query in captured if "django_verigator" in query["sql"]]
    # The numbers, the deletions, the last run; then Django's own count and page.
    assert len(ours) == 5
    assert sum("GROUP BY" in sql for sql in ours) == 1


def test_links__show_how_far_a_running_sync_is(support, browser):
    now = timezone.now()
    run = SyncRun.objects.create(
        slot="sync", phase="register", done=300, total=1200, started_at=now - timedelta(minutes=4),
        lease_until=now + timedelta(minutes=1),
    )  # fmt: skip
    page = browser.get(LINKS).content.decode()
    assert '<progress max="1200" value="300">' in page
    assert "registering" in page
    SyncRun.objects.filter(pk=run.pk).update(done=600)
    assert '<progress max="1200" value="600">' in browser.get(LINKS).content.decode()
    SyncRun.objects.filter(pk=run.pk).update(lease_until=now - timedelta(minutes=1))
    page = browser.get(LINKS).content.decode()
    assert "<progress" not in page
    assert "killed" in page
    SyncRun.objects.filter(pk=run.pk).update(slot=None, outcome="provider_down", error="timeout", finished_at=now)
    assert "provider not available (timeout)" in " ".join(browser.get(LINKS).content.decode().split())


@pytest.mark.threat("J09")
def test_glance__needs_the_permission_to_see_links(alice, browser, db):
    helper = User.objects.create_user("helper", is_staff=True)
    helper.user_permissions.set(Permission.objects.filter(codename="view_user"))
    browser.force_login(helper)
    with CaptureQueriesContext(connection) as captured:
        assert browser.get(LINKS).status_code == HTTPStatus.FORBIDDEN
    assert not [query for query in captured if "GROUP BY" in query["sql"]]
