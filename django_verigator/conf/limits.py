"""The keys of VERIGATOR["LIMITS"], with their defaults and bounds."""

from __future__ import annotations

from dataclasses import dataclass

from .rules import limit


@dataclass(frozen=True, slots=True)
class Limits:
    """The keys of VERIGATOR["LIMITS"]. Every number is a positive integer."""

    TRIES_PER_CHALLENGE: int = limit(5, at_most=10)
    """PINs that may be tried against one sent code (at most 10)."""
    TRIES_PER_USER_HOUR: int = limit(10, loose_above=100)
    """Wrong PINs of one user within an hour."""
    TRIES_PER_USER_DAY: int = limit(20, loose_above=200)
    """Wrong PINs of one user within 24 hours."""
    TRIES_PER_ADDRESS_HOUR: int = limit(100, loose_above=10_000)
    """Wrong PINs from one address (an IPv6 /64) within an hour; an office may share one."""
    CONSECUTIVE_FAILURES: int = limit(100, loose_above=1000)
    """Wrong PINs in a row after which only support, or a new password, lets the user try again. At most 10 where
    PIN_LENGTH is 4."""
    SENDS_PER_USER_HOUR: int = limit(10, loose_above=100)
    """Codes sent for one user within an hour."""
    SENDS_PER_PHONE_10_MINUTES: int = limit(5, loose_above=50)
    """Codes sent to one number within 10 minutes; half of them for users other than the one who has confirmed it."""
    SENDS_PER_PHONE_DAY: int = limit(60, loose_above=500)
    """The same within 24 hours; half of them for users who have not confirmed the number."""
    SENDS_PER_LOGIN: int = limit(6, loose_above=50)
    """Codes sent for one login, from its password to its end."""
    SENDS_PER_ADDRESS_HOUR: int = limit(100, loose_above=10_000)
    """Codes asked for from one address (an IPv6 /64) within an hour."""
    SENDS_PER_PREFIX_HOUR: int = limit(50, loose_above=10_000)
    """Codes sent within an hour to numbers that differ in their last three digits only; confirmed numbers are not
    counted."""
    SENDS_PER_SITE_HOUR: int = limit(1000, loose_above=1_000_000)
    """Codes sent within an hour to numbers that nobody has confirmed yet, in all."""
    SENDS_PER_SITE_DAY: int = limit(5000, loose_above=10_000_000)
    """The same within 24 hours."""
    STARTS_PER_USER_HOUR: int = limit(30, loose_above=300)
    """Codes asked for by one user within an hour, whatever the way and the provider's answer; half of them may be
    another code for the same login."""
    STARTS_PER_ADDRESS_HOUR: int = limit(500, loose_above=50_000)
    """The same from one address (an IPv6 /64)."""
    PHONE_CHANGES_PER_USER_DAY: int = limit(3, loose_above=50)
    """New numbers that one user may propose within 24 hours."""
    RESEND_PAUSE: int = limit(30)
    """Seconds between a code and the next one of the same login; twice as long after each further one."""
    CHALLENGE_SECONDS: int = limit(300, at_most=600)
    """How long a sent code may be used (at most 600)."""
    PENDING_SECONDS: int = limit(600, at_most=3600)
    """How long a login may wait between its password and its PIN (at most 3600)."""
    CIRCUIT_FAILURES: int = limit(4)
    """Calls in a row that a provider does not answer, or answers with 5xx, 401 or 403; then nobody asks it for a
    while. Of those for one user, one number or from one address a single one counts."""
    CIRCUIT_WINDOW: int = limit(60)
    """Seconds within which these calls must have failed."""
    CIRCUIT_OPEN_SECONDS: int = limit(30, at_most=600)
    """For how long nobody asks a provider that is down, before one call tries it again (at most 600)."""
    PROVIDER_CALLS_AT_ONCE: int = limit(5)
    """Calls to one provider that one process waits for at the same time. Choose half as many as a process has threads:
    the others serve your other pages while a provider hangs."""
