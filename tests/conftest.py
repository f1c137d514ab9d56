"""What all tests share."""

from hypothesis import settings

# No deadline per example: on a busy machine it fails tests for being slow, and pytest-timeout finds those that hang.
# The blob of a failing example is printed, so that it can be replayed from a log.
settings.register_profile("bndl", deadline=None, print_blob=True)
settings.load_profile("bndl")
