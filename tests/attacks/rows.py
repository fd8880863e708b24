"""The attacks and faults that the second step must withstand, and where each is tried.

``python -m tests.attacks.rows`` writes the tables of docs/threats.md anew. A test is of the rows that
``@pytest.mark.threat("A01", ...)`` names (``tests/docs/marked.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.docs import marked
from tests.docs.markdown import DOCS

PAGE = DOCS / "threats.md"
BEGIN = "<!-- rows: written by python -m tests.attacks.rows -->\n"
END = "<!-- end of rows -->\n"
SHOWN = 4
"""Tests named for a row; there may be more."""

GROUPS = {
    "A": "Past the second step",
    "B": "The cookie of a trusted browser",
    "C": "Guessing",
    "D": "A PIN used twice, or for something else",
    "E": "Making the site send",
    "F": "Leaks",
    "G": "The session",
    "H": "Input",
    "I": "The victim's browser",
    "J": "Enrolment and change of phone",
    "K": "Recovery codes",
    "L": "Stand-ins, settings, environment",
    "M": "Answers of the provider",
    "R": "Faults",
}

ROWS = """
A01 C any page of the site, with a login that waits
A02 C the second step without the first
A03 C the password in the admin
A04 C the password in a second admin site
A05 C a password reset that logs in
A06 H a password reset, for what was trusted or pending before
A07 C sign-up and magic links that call login()
A08 C another authentication backend, RemoteUser, a JSON or async login
A09 C tokens and basic authentication, which make no session: warned of by a check
A10 C Django's own login page at another address
A11 C one user's proof in another user's login, in one session
A12 C fields, cookies or addresses that name another user
A14 C changing the account from a login that waits
A15 C no PIN, blanks, null, zeros
A16 C fields that claim success
A17 C a user who owes the step and has no phone
A18 H other HTTP methods, and headers that ask for them
A19 C headers that claim to come from inside
A20 H a session from before the step was asked for
A21 H a session whose user support has reset
B01 C one user's cookie at another's login
B02 C forged, cut, signed otherwise
B03 H after a new password, a new phone, a reset, an end
B04 H a second after its time
B05 H stolen, without the password
B06 H to get more tries
B07 M what the cookie shows
B08 M hundreds of them
C01 C more wrong PINs than a code has tries
C02 C a new code after each few
C03 C a new login after each few
C04 C a hundred logins at once
C05 C many PINs at once in one login
C06 C other addresses, real or claimed
C07 H one guess on each of many accounts
C09 C many PINs in one post
C10 C the side that is not limited
C11 C recovery codes besides
C12 H cookies thrown away or rolled back
C13 H restarts, an empty cache, several processes
C14 H patience for weeks
C15 H locking somebody out without the password
C16 H what a locked user is told
C17 M a burst, told once
D01 C a PIN that was accepted, again
D02 C the right PIN many times at once
D03 C another user's PIN
D04 C another login's challenge
D05 C a login that a newer one has replaced
D06 C a PIN that is too old
D07 H a PIN that was sent for something else
D08 H the whole step posted again after logout
D09 H a code of the app, again
E01 C resend after resend
E02 C login after login
E03 C many accounts, one number
E04 C blocks of numbers
E05 C countries and kinds of numbers that earn somebody money
E06 C changing the phone over and over
E07 C looking at pages
E08 C wrong passwords
E09 H the app, with its fallback to a text
E10 H fifty resends at once
E11 H the site's budget
E12 H texts nobody answers: told by the signals, per country
E13 M texts to somebody else's number
E14 H calls that fail, brought about by one number, user or address
E15 H the password alone, to keep its owner out
F01 H unknown, inactive, wrong password: what is said
F02 H the same: what it costs
F03 H the same: with the provider up, slow and down
F04 H what the pages show of phone and name
F05 C the log, at DEBUG
F06 C reports of errors
F07 C sessions, tables, cache
F08 H the provider's words
F09 H repr, str and pickle
F10 H the admin
F11 H a number that somebody has already
F12 M what a locked user is told of a right PIN
F13 M addresses and referrers
G01 C a session key planted before the login
G02 H a copy of the pending login
G04 H a login that waits too long
G05 H logout, half way and after
G06 C a user deactivated between the steps
G07 C a password changed between the steps
G09 H a phone or record changed between the steps
G10 H a backend removed between the steps
G11 M the proof under a new session key
G12 M a proof that is too old
H01 H PINs that are none
H02 H bodies of JSON; there is no JSON login here, they are forms without a PIN
H03 H phone numbers that are none
H04 C UserIDs that lead to another path
H05 H usernames of all kinds
H06 M thousands of fields, files
H07 M text that means something to a database or a template
I01 C forms without their token
I02 C a login planted in the victim's browser
I03 H the page to go to afterwards
I04 H frames
I05 H caches
I06 M a strict content policy
I07 M prefetching
J01 C a stolen session that changes the phone
J02 C a phone nobody has confirmed
J03 C somebody else's phone, browsers, codes
J04 C enrolling somebody else's number
J05 C a record a stranger has made at the provider
J07 H two changes at once
J08 H what ends with a change
J09 H staff without the permission
J10 H a phone that staff write into a form
K01 C one code many times at once
K02 C a copy of the database
K03 C an old set, another user's
K04 H guessing codes
K05 H seeing codes again
K06 H codes typed otherwise
K07 M what a used code is followed by
K08 M what a try costs
L01 C a stand-in in production
L02 C a PIN that always works
L03 C no TLS, no credentials
L04 H settings that weaken the step
L05 H the environment
L06 M the example's deployment checks
M01 C a yes that is none
M02 C another success, another form
M03 C redirects
M04 C a yes with an error
M06 H too much
M07 H too slow
M08 C another certificate
M09 H about somebody or something else
M10 H a yes and a no
M11 M cookies, waits of years
M12 H delivery reports that are forged, replayed, late, or about another message
M13 H a gateway that lies about sending, or breaks
R01 - provider gone at the login
R02 - no name resolution
R03 - connecting hangs
R04 - reading hangs
R05 - an answer byte by byte
R06 - the answer to a start is lost
R07 - the verdict is lost
R08 - 5xx when a record is made, read, deleted
R09 - 500 at a start
R10 - 429
R11 - credentials revoked
R12 - the record is gone at the provider
R13 - 409 after a lost reply of ours
R14 - 409 for a stranger's record
R15 - 422 for the number
R16 - answers with other fields
R17 - registered in a transaction that is rolled back
R18 - the record is made, and not written down here
R19 - killed in between
R20 - killed before the call
R21 - two workers, one user
R22 - saved a hundred times, bulk_create, fixtures
R23 - a receiver raises
R24 - ATOMIC_REQUESTS
R26 - cache down or flushed
R27 - a replica that lags
R28 - a deadlock
R29 - session store down
R30 - clocks that differ
R31 - migrating a million rows
R32 - old and new code side by side
R33 - a long sync, killed and killed again
R34 - two syncs at once
R35 - a sync with failures
R36 - the admin's action on thousands
R37 - a user deleted while the provider is down
R38 - a deletion that is rolled back
R39 - records deleted or added by hand
R40 - a slow provider under load
"""

_SEVERITY = {"C": "critical", "H": "high", "M": "medium", "-": ""}


@dataclass(frozen=True)
class Row:
    id: str
    severity: str
    words: str

    @property
    def must_be_tested(self) -> bool:
        return self.severity in ("C", "H")


def rows() -> list[Row]:
    return [Row(*line.split(maxsplit=2)) for line in ROWS.strip().splitlines()]


def tests() -> dict[str, list[str]]:
    """Return the tests of each id that a test carries: over HTTP first, then the races, then the others."""
    order = ("attacks/", "races/", "test_", "client/")

    def place(test: str) -> int:
        return next((place for place, start in enumerate(order) if test.startswith(start)), len(order))

    return {row_id: sorted(found, key=place) for row_id, found in marked.tests("threat").items()}


def tables() -> str:
    """Return all that stands between the two marks."""
    by_id = tests()
    lines = []
    for group, title in GROUPS.items():
        what = "fault" if group == "R" else "attack"
        lines += ["", f"## {group}. {title}", "", f"| id | severity | {what} | tests |", "|---|---|---|---|"]
        for row in rows():
            if row.id.startswith(group):
                shown = "<br>".join(f"`{test}`" for test in by_id.get(row.id, [])[:SHOWN])
                lines.append(f"| {row.id} | {_SEVERITY[row.severity]} | {row.words} | {shown} |")
    return "\n".join([*lines, "", ""])


def split() -> tuple[str, str, str]:
    """Return what stands in the page before, between and after the marks."""
    return marked.split(PAGE, BEGIN, END)


if __name__ == "__main__":
    before, _, after = split()
    PAGE.write_text(f"{before}{BEGIN}{tables()}{END}{after}", encoding="utf-8")
