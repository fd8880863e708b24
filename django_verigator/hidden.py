"""Text with a masked ``repr()``, which error trackers and debug pages print for the variables of each frame."""

from __future__ import annotations

MASK = "'********'"


class HiddenText(str):
    """A phone number, PIN or code: a ``str`` with a masked ``repr()``."""

    __slots__ = ()

    def __repr__(self) -> str:
        return MASK
