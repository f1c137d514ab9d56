"""What all tests share."""

import os

import pytest
from hypothesis import settings

# No deadline per example: on a busy machine it fails tests for being slow, and pytest-timeout finds those that hang.
# The blob of a failing example is printed, so that it can be replayed from a log.
settings.register_profile("bndl", deadline=None, print_blob=True)
settings.register_profile("long", settings.get_profile("bndl"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "bndl"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files of slow tests first, so that no long one is left alone at the end, when all others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
