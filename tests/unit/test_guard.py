"""The owner of a process, as its environment names it."""

from __future__ import annotations

import pytest

from bndl.cluster.guard import VARIABLE, has_owner, with_owner

NAME = VARIABLE.encode()


def as_block(environment: dict[str, str]) -> bytes:
    return b"".join(f"{name}={value}\0".encode() for name, value in environment.items())


@pytest.mark.parametrize(
    ("owners", "owner", "found"),
    [
        (["aa.0"], "aa.0", True),
        (["aa.0"], "aa", True),
        (["aa.10"], "aa.1", False),
        (["aa.1"], "aa.10", False),
        (["aab.1"], "aa", False),
        (["aa.1", "bb.2"], "aa.1", True),
        (["aa.1", "bb.2"], "aa", True),
        (["aa.1", "bb.2"], "bb", True),
        (["aa.1", "bb.2"], "bb.1", False),
        ([], "aa", False),
    ],
)
def test_an_owner_is_found_by_its_whole_name(owners: list[str], owner: str, *, found: bool) -> None:
    environment = {"A": "aa.0", "Z": "1"}
    for each in owners:
        environment = with_owner(environment, each)
    assert has_owner(as_block(environment), owner) is found


@pytest.mark.parametrize(
    "block",
    [b"", b"\0\0", b"=", NAME + b"=", NAME + b"=\xff:\xfe", NAME, b"X" + NAME + b"=aa"],
)
def test_any_environment_can_be_read(block: bytes) -> None:
    assert not has_owner(block, "aa")


def test_what_comes_after_a_broken_variable_is_read() -> None:
    assert has_owner(b"NONSENSE\0\xff\xfe=1\0" + as_block(with_owner({}, "aa.1")), "aa.1")
