"""The signals for a site. They are sent with ``send_robust``: a receiver that raises stops no login.

Every signal's sender is the user's class. None carries a PIN or a full phone number.

==================== =========================================================== ==================================
signal               arguments                                                   sent when
==================== =========================================================== ==================================
verified             request, user, method, challenge                            the second factor was proved
verification_failed  user, reason, challenge                                     a PIN or recovery code was refused
code_sent            user, method, challenge                                     the provider has sent a code
registered           user, link                                                  the provider gave a UserID
locked               user, until (None: until support or a new password)        a lockout has begun
limit_reached        user, scope, until                                          a limit or rule refused a send
==================== =========================================================== ==================================
"""

from __future__ import annotations

from django.dispatch import Signal

verified = Signal()
verification_failed = Signal()
code_sent = Signal()
registered = Signal()
locked = Signal()
limit_reached = Signal()
