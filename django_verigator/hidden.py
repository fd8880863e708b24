"""Text that does not show itself: error trackers and debug pages print the ``repr()`` of each frame's variables."""

from __future__ import annotations

MASK = "'********'"


class HiddenText(str):
    """A phone number, a PIN or a code: a str like any other, but for its masked ``repr()``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK
