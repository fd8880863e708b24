"""The table of docs/faults.md, made from the rows below and the tests that carry their ids.

``python -m tests.docs.faults_table`` writes it anew. A test is of the rows that ``@pytest.mark.fault("N01", ...)``
names (``marked.py``).
"""

from __future__ import annotations

from . import marked
from .markdown import DOCS

PAGE = DOCS / "faults.md"
BEGIN = "<!-- rows: written by python -m tests.docs.faults_table -->\n"
END = "<!-- end of rows -->\n"
SHOWN = 3
"""Tests named for a row; there may be more."""

GROUPS = {"N": "The network and the process", "P": "Numbers, keyboards, clicks", "X": "Other packages", "T": "Security"}

ROWS = """
N01 no connection that was idle for more than 20 s is used again; one found dead before a byte has left is replaced in the same call
N02 all that is asked of a socket is to connect, send, receive and close, so gevent's will do; whatever a transport raises is one of our errors
N03 nothing that the dispatcher, its import, its queue or its first query does makes a save fail
N04 a save waits for no broker that stays silent
N05 one dead address of a host eats no budget; a time-out of somebody in a hurry does not count against the circuit
N06 many saves in one request or transaction wait no longer than one; the rest is left to sync, and said
N07 each failure to connect has a word and an address, in the error, the log and the commands' output
N08 only deadlocks, lock time-outs and serialization failures are taken as such; the reason of others reaches the log
N09 what the site's functions raise is in the log with its traceback, and without its message
N10 every command prints nothing at -v 0 when all went well
P01 a value that knows its own international form is read by it, whatever it prints
P02 numbers are read with the dashes, blanks, digits and invisible marks that people's devices put there
P03 a number that nobody can read, or that was refused from the first, is no way past the second step
P04 a form posted twice begins one login and sends one text
P05 a form loaded again costs no other try and makes no other codes
P06 PINs and recovery codes are read in digits of any script, and compared in ASCII
P07 the password asked once more goes through authenticate(); who has none is not asked
P08 a password that is stored anew, or set again, ends no hard stop
P09 a login that has ended says so on the login page, which keeps where to go
P10 a form with an old CSRF token is answered with its page and a sentence, or leads on who is in
P11 "Cancel" leads back who is logged in
P12 a page of the second step leads on who is in already
P13 where a login lands is computed after it, by the site's own view
X01 a login to any session, or to none, is noticed, and what it hands out does not work before the PIN
X02 all pages but the login page can be included; a second door beside another factor is a check
X03 what a user owes is remembered of that row, not of its key
X04 a trusted browser is trusted at every login that the guard catches
X05 token classes are resolved by inheritance and for single views
X07 messages survive, and cookies that hold no credential
X08 a login made by a form sends its PIN at once
X10 the site's user admin is its own; the pages work under skins
X11 LOGIN_URL is resolved as a request is
X12 two builds of phonenumbers are told apart
X13 a PHONE that finds no number at real users is told before a deployment
X14 numbers, PINs and codes hide themselves in frames
X15 databases without time zones or with utf8mb3 are no error
X16 one command erases a user whose row stays
X17 deletions that no entry can do are said, and fail no run
X18 an unknown service is a configuration error, and links stay
X19 saves of other models are none of ours; a malformed mark is none; split databases are a check
X20 what is in other hands, and the one-by-one fallback, are tested
T01 support proves to be there before it weakens an account, issues no code for itself, and does nothing to a superuser without being one
T02 a proof ends with the login it was given in
T03 failures that one number, user or address brings about open the circuit for nobody else
T04 every start and registration is counted, also one that failed or was refused, and leaves a trace
T05 a login by app waits for the code that is good already; who runs out of starts is told by mail
T06 a first phone is told by mail; where the site wants it, a user without a password enrols one only soon after signing in
T07 a middleware between AuthenticationMiddleware and ours is a check
T08 the last accepted PINs are refused for ten minutes
T09 a provider's reference belongs to one challenge
T10 a proxy's password is masked in settings, and in no address that a library holds
T11 a connection that said more than it announced is not used again
T12 a middleware that logs in on each request leads into no circle
T13 names stand on one line, escaped, and masked where they are numbers
T14 a number gets so many texts a day, a stranger's phone half of them
T15 mails that somebody else may have brought about come in the site's language; where a login led to is forgotten with it; a deactivated user has no old proof
"""


def rows() -> dict[str, str]:
    """Return what holds now, by id."""
    return dict(line.split(maxsplit=1) for line in ROWS.strip().splitlines())  # type: ignore[misc]


def tests() -> dict[str, list[str]]:
    """Return the tests of each id that a test carries, as ``file::name``, the file below tests/."""
    return marked.tests("fault")


def tables() -> str:
    """Return all that stands between the two marks."""
    by_id = tests()
    lines = []
    for group, title in GROUPS.items():
        lines += ["", f"## {group}. {title}", "", "| id | what holds now | tests |", "|---|---|---|"]
        for fault, words in rows().items():
            if fault.startswith(group):
                shown = "<br>".join(f"`{test}`" for test in by_id.get(fault, [])[:SHOWN])
                lines.append(f"| {fault} | {words} | {shown} |")
    return "\n".join([*lines, "", ""])


def split() -> tuple[str, str, str]:
    """Return what stands in the page before, between and after the marks."""
    return marked.split(PAGE, BEGIN, END)


if __name__ == "__main__":
    before, _, after = split()
    PAGE.write_text(f"{before}{BEGIN}{tables()}{END}{after}", encoding="utf-8")
