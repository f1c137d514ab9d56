"""The lines of what was typed in travel with its code, and each function shows its own."""

from __future__ import annotations

import linecache
import pickle
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bndl.execute.payloads import Packer, unpack
from bndl.execute.pickling import sources, typed
from bndl.execute.pickling.codes import reduce_code
from bndl.execute.pickling.typed import read_command

OUTER = "\ndef outer(x):\n    def inner(y):\n        return 1 / y  # inner\n    return inner(x)\n"


@pytest.fixture(autouse=True)
def _nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sources, "_known", {})
    cached = dict(linecache.cache)
    yield
    linecache.cache.clear()
    linecache.cache.update(cached)


def define(source: str, name: str, function: str = "outer", *, known: bool = True) -> Callable[[Any], Any]:
    """A function whose source is in no file."""
    if known:
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), namespace)  # noqa: S102 - as a shell does it
    made: Callable[[Any], Any] = namespace[function]
    return made


def send(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The function as it arrives in a process that knows nothing of it."""
    payload = Packer().pack(function)
    linecache.cache.clear()
    sources._known.clear()  # noqa: SLF001 - as in a new process
    arrived: Callable[[Any], Any] = unpack(payload)
    return arrived


def show(function: Callable[[Any], Any]) -> str:
    with pytest.raises(ZeroDivisionError) as caught:
        function(0)
    return "".join(traceback.format_tb(caught.value.__traceback__)[1:])


def test_lines_of_a_cell_travel() -> None:
    shown = show(send(define(OUTER, "<ipython-input-1-abc>")))
    assert 'File "<ipython-input-1-abc>", line 5, in outer\n    return inner(x)\n' in shown
    assert 'File "<ipython-input-1-abc>", line 4, in inner\n    return 1 / y  # inner\n' in shown


def test_the_name_of_a_file_that_is_gone_stays() -> None:
    shown = show(send(define(OUTER, "/tmp/ipykernel_1/42.py")))  # noqa: S108 - as it is there
    assert 'File "/tmp/ipykernel_1/42.py", line 4, in inner\n    return 1 / y  # inner\n' in shown


def test_functions_of_one_cell_share_its_name() -> None:
    source = "def outer(x):\n    return 1 / x  # first\n\ndef other(x):\n    return 2 / x  # second\n"
    outer, other = define(source, "<cell>"), define(source, "<cell>", "other")
    payloads = [Packer().pack(each) for each in (outer, other)]
    linecache.cache.clear()
    sources._known.clear()  # noqa: SLF001 - as in a new process
    arrived = [unpack(payload) for payload in payloads]
    assert [each.__code__.co_filename for each in arrived] == ["<cell>", "<cell>"]
    assert ["first" in show(arrived[0]), "second" in show(arrived[1])] == [True, True]


def test_two_sources_with_one_name_are_kept_apart() -> None:
    first = define("def outer(x):\n    return 1 / x  # first\n", "<cell>")
    payload = Packer().pack(first)
    second = define("def outer(x):\n    return 2 / x  # second\n", "<cell>")
    payloads = [payload, Packer().pack(second)]
    linecache.cache.clear()
    sources._known.clear()  # noqa: SLF001 - as in a new process
    arrived = [unpack(payload) for payload in payloads]
    assert arrived[0].__code__.co_filename == "<cell>"
    assert arrived[1].__code__.co_filename.startswith("<cell-")
    assert ["first" in show(arrived[0]), "second" in show(arrived[1])] == [True, True]


def test_code_of_files_brings_no_source() -> None:
    assert reduce_code(show.__code__)[0] is type(show.__code__)
    arrived = pickle.loads(pickle.dumps(show))
    assert arrived.__code__.co_filename == __file__


@pytest.mark.parametrize(
    "name", ["<nowhere>", "<string>", "<stdin>", "/dev/stdin", "/no/such/file.py", "\udce9.py", "a\0b"]
)
def test_without_a_source_there_is_none(name: str) -> None:
    arrived = send(define(OUTER, name, known=False)) if "\0" not in name else None
    if arrived is not None:
        assert arrived.__code__.co_filename.startswith(name.removesuffix(">"))
        assert "# inner" not in show(arrived)


def test_large_sources_stay() -> None:
    long = "def outer(x):\n" + "    y = '" + "a" * 100_000 + "'\n    return 1 / x  # end\n"
    assert "# end" not in show(send(define(long, "<long>")))


def test_not_all_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_MOST_NAMES", 3)
    for number in range(10):
        sources.keep_source(f"<{number}>", 1, ["x = 1\n"])
    assert list(sources._known) == ["<7>", "<8>", "<9>"]  # noqa: SLF001 - what is kept
    assert "<6>" not in linecache.cache


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (("python", "-c", "code", "-c", "other"), "code"),
        (("python", "-ccode"), "code"),
        (("python", "-Iuc", "code", "x"), "code"),
        (("python", "-W", "error", "-X", "dev", "-c", "code"), "code"),
        (("python", "-Werror", "-c", "code"), "code"),
        (("python", "--check-hash-based-pycs", "always", "-c", "code"), "code"),
        (("python", "script.py", "-c", "no"), ""),
        (("python", "-m", "module", "-c", "no"), ""),
        (("python", "-W", "-c"), ""),
        (("python", "-", "-c", "no"), ""),
        (("python",), ""),
        ((), ""),
    ],
)
def test_the_program_of_a_command(arguments: tuple[str, ...], program: str) -> None:
    assert read_command(arguments) == program


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(sys, "orig_argv", ["python", "-c", OUTER])
    typed.find_lines.cache_clear()
    yield OUTER
    typed.find_lines.cache_clear()


def test_what_has_the_name_of_a_command_is_not_taken_for_it(command: str) -> None:
    assert "return 1 / y  # inner" in show(send(define(command, "<string>", known=False)))
    strange = send(define("\n\ndef outer(x):\n    return 3 / x\n", "<string>", known=False))
    assert strange.__code__.co_filename.startswith("<string-")
    assert "# inner" not in show(strange)
