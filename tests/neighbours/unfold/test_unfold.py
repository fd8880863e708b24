"""django-unfold."""

from __future__ import annotations

import re

import pytest
from django.urls import reverse

from tests.neighbours.admin_tests import *
from tests.neighbours.admin_tests import LINKS


@pytest.mark.fault("X10")
def test_actions_on_links__can_be_run(support):
    """Unfold shows the button to run an action only where its own form of actions is on the page."""
    page = support.get(reverse(LINKS)).content.decode()
    assert 'x-model="action"' in re.search(r'<select name="action"[^>]*>', page)[0]
