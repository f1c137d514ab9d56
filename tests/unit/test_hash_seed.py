"""The hash seed of workers, and what their interpreters are started with."""

import subprocess
import sys

import pytest

from bndl.cluster.hash_seed import choose_seed, derive_seed, seed_hashes


@pytest.mark.parametrize("secret", ["", "a", "secret", "\N{SNOWMAN}" * 100])
def test_a_seed_is_one_that_python_takes_and_always_the_same(secret: str) -> None:
    seed = derive_seed(secret)
    assert 0 < seed < 2**32
    assert derive_seed(secret) == seed


def test_secrets_give_different_seeds() -> None:
    assert len({derive_seed(str(number)) for number in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("given", "expected"),
    [({}, None), ({"PYTHONHASHSEED": ""}, None), ({"PYTHONHASHSEED": "random"}, None), ({"PYTHONHASHSEED": "7"}, "7")],
)
def test_the_seed_that_the_user_has_set_stays(given: dict[str, str], expected: str | None) -> None:
    assert choose_seed(given, "secret") == (expected or str(derive_seed("secret")))


def test_the_rest_of_the_environment_stays() -> None:
    environment, _ = seed_hashes({"PYTHONHASHSEED": "random", "PYTHONWARNINGS": "error", "A": "b"}, "5")
    assert environment == {"PYTHONHASHSEED": "5", "PYTHONWARNINGS": "error", "A": "b"}


@pytest.mark.parametrize("options", [["-E"], ["-I"], ["-E", "-s", "-B"]])
def test_an_interpreter_that_ignores_its_environment_heeds_the_seed(options: list[str]) -> None:
    program = """
import subprocess, sys
from bndl.cluster.hash_seed import choose_seed, seed_hashes
environment, options = seed_hashes({"PYTHONWARNINGS": "error", "PYTHONHASHSEED": "9", "HOME": "/"}, "5")
assert environment == {"PYTHONHASHSEED": "5", "HOME": "/"}, environment
assert choose_seed({"PYTHONHASHSEED": "9"}, "secret") != "9"
show = "import sys; print(hash('word'), sys.flags.no_user_site)"
print({subprocess.check_output([sys.executable, *options, "-c", show], env=environment) for _ in range(3)})
"""
    out = subprocess.check_output([sys.executable, *options, "-c", program], text=True, timeout=60)
    assert len(eval(out)) == 1  # noqa: S307 - a set of bytes
    assert (b" 1" in eval(out).pop()) is (options != ["-E"])  # noqa: S307
