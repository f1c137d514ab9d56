"""The census of ``bndl demo``: what it finds and counts, and that the split of the work never shows in the result."""

from __future__ import annotations

import ast
import io
import os
import pickle
import random
import sysconfig
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bndl.cli import census as module
from bndl.cli.census import (
    TOP,
    Broken,
    Census,
    Counts,
    Parsed,
    Ranked,
    as_text,
    combine_counts,
    find_files,
    merge_counts,
    parse_file,
    printable,
    rank_modules,
    run_serial,
)
from bndl.cli.census_report import SHOWN_BROKEN, render

MakeFile = Callable[..., str]
Action = Literal["always", "error"]


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    """Write a file below ``tmp_path`` and return its path."""

    def make(name: str, content: str | bytes = b"") -> str:
        path = tmp_path.resolve() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return make


def reason_of(path: str) -> str:
    """The reason a file is broken; it must be, and must count nothing."""
    parsed = parse_file(path)
    assert parsed.broken is not None
    assert parsed == Parsed(broken=Broken(path, parsed.broken.reason))
    return parsed.broken.reason


class TestFindFiles:
    def test_the_default_is_the_standard_library_and_site_packages(self) -> None:
        found = find_files(None)
        stdlib = os.path.realpath(sysconfig.get_path("stdlib"))
        packages = os.path.realpath(sysconfig.get_path("purelib"))
        assert found == sorted(set(found))
        assert f"{packages}/pytest/__init__.py" in found
        assert f"{stdlib}/json/decoder.py" in found
        in_packages = {path for path in found if path.startswith(f"{packages}/")}
        in_stdlib = {path for path in found if path.startswith(f"{stdlib}/")} - in_packages
        assert len(in_stdlib) > 1000
        assert not [path for path in in_stdlib if "site-packages" in Path(path).parts]
        assert not [path for path in found if "__pycache__" in Path(path).parts]

    def test_folders_are_searched_and_files_taken_as_they_are(self, make_file: MakeFile, tmp_path: Path) -> None:
        in_folder = [make_file("a/x.py"), make_file("a/b/y.py"), make_file("a/.hidden/z.py")]
        make_file("a/__pycache__/x.py")
        make_file("a/notes.txt")
        make_file("a/module.pyi")
        script = make_file("script")
        assert find_files([tmp_path / "a", Path(script), tmp_path / "a" / "x.py"]) == sorted([*in_folder, script])

    def test_no_paths_are_no_files(self) -> None:
        assert find_files([]) == []

    def test_relative_paths_become_absolute(self, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch) -> None:
        path = make_file("a/x.py")
        monkeypatch.chdir(Path(path).parent)
        assert find_files([Path()]) == find_files([Path("x.py")]) == [path]

    def test_links_count_once_and_may_form_loops(self, make_file: MakeFile, tmp_path: Path) -> None:
        real = make_file("real/x.py")
        outside = make_file("outside/y.py")
        root = tmp_path / "real"
        (root / "same.py").symlink_to("x.py")
        (root / "loop").symlink_to(root)
        (root / "folder").symlink_to(tmp_path / "outside")
        (root / "nowhere.py").symlink_to("missing.py")
        (root / "itself.py").symlink_to("itself.py")
        (tmp_path / "alias").symlink_to(root)
        assert find_files([tmp_path / "alias"]) == sorted([real, outside])
        assert find_files([tmp_path]) == sorted([real, outside])

    def test_a_missing_path_is_named_with_the_next_step(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"missing.*check its spelling") as caught:
            find_files([tmp_path / "missing"])
        assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)

    def test_a_folder_that_cannot_be_read_is_listed_as_broken(
        self, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = make_file("a/x.py")
        closed = str(Path(make_file("a/closed/y.py")).parent)
        scandir = os.scandir

        # By hand, because no folder is closed to root.
        def refuse(folder: str) -> object:
            if folder == closed:
                raise PermissionError(13, "Permission denied", folder)
            return scandir(folder)

        monkeypatch.setattr(os, "scandir", refuse)
        assert find_files([Path(path).parent]) == sorted([path, closed])
        assert "Error: " in reason_of(closed)


class TestParseFile:
    def test_an_empty_file_counts_nothing(self, make_file: MakeFile) -> None:
        assert parse_file(make_file("empty.py")) == Parsed()

    def test_definitions_are_counted_wherever_they_are(self, make_file: MakeFile) -> None:
        source = """\
def function():
    def nested(): ...
    class Local:
        async def method(self):
            def in_method(): ...
if True:
    async def conditional(): ...
else:
    for _ in ():
        while True:
            with open("x"):
                def deep(): ...
class Outer:
    class Inner: ...
    try:
        def method(self): ...
    except Exception:
        def method(self): ...
    else:
        pass
    finally:
        pass
    value = lambda: 0
match 1:
    case 1:
        def matched(): ...
"""
        parsed = parse_file(make_file("x.py", source))
        assert (parsed.lines, parsed.functions, parsed.methods, parsed.classes) == (26, 6, 3, 3)

    def test_statements_in_except_groups_are_counted(self, make_file: MakeFile) -> None:
        source = "try:\n import a\nexcept* OSError:\n import b\n def f(): ...\n"
        assert parse_file(make_file("x.py", source)) == Parsed(5, functions=1, imports=("a", "b"))

    def test_each_module_counts_once(self, make_file: MakeFile) -> None:
        source = "import b, a.c as d\nimport b\nfrom a import *\ndef f():\n    from b import x, y\n    import nested\n"
        assert parse_file(make_file("x.py", source)).imports == ("a", "a.c", "b", "nested")

    @pytest.mark.parametrize(
        ("content", "lines"),
        [(b"", 0), (b"\n", 1), (b"x", 1), (b"x\n", 1), (b"x\r\ny\rz\n\n", 4), (b"x = '\x0c\xc2\x85\xe2\x80\xa8'\n", 1)],
    )
    def test_lines_end_where_python_ends_them(self, make_file: MakeFile, content: bytes, lines: int) -> None:
        assert parse_file(make_file("x.py", content)).lines == lines

    @pytest.mark.parametrize(
        ("statement", "resolved"),
        [
            ("from . import x", "top.sub"),
            ("from .x import y", "top.sub.x"),
            ("from .. import x", "top"),
            ("from ..x.y import z", "top.x.y"),
            ("from ... import x", "..."),
            ("from ....x import y", "....x"),
        ],
    )
    @pytest.mark.parametrize("name", ["module.py", "__init__.py"])
    def test_relative_imports_become_absolute(
        self, make_file: MakeFile, name: str, statement: str, resolved: str
    ) -> None:
        make_file("no_package/top/__init__.py")
        make_file("no_package/top/sub/__init__.py")
        assert parse_file(make_file(f"no_package/top/sub/{name}", statement)).imports == (resolved,)

    def test_a_relative_import_outside_of_a_package_stays_as_written(self, make_file: MakeFile) -> None:
        make_file("top/__init__.py")
        assert parse_file(make_file("top/no_package/x.py", "from . import a\nfrom .b import c")).imports == (".", ".b")

    @pytest.mark.parametrize(
        "content",
        [
            b"# coding: latin-1\nimport a\nx = '\xe9'\n",
            b"#!/usr/bin/python\n# -*- coding: cp1252 -*-\nimport a # \x80\n",
            b"\xef\xbb\xbfimport a\nx = '\xc3\xa9'\n",
        ],
    )
    def test_cookies_and_byte_order_marks_are_honoured(self, make_file: MakeFile, content: bytes) -> None:
        parsed = parse_file(make_file("x.py", content))
        assert parsed.broken is None
        assert parsed.imports == ("a",)

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            pytest.param(b"import a\ndef (\n", "SyntaxError: invalid syntax (line 2)", id="syntax"),
            pytest.param(b"if 1:\nx\n", "IndentationError: expected an indented block", id="indentation"),
            pytest.param(b"x = '\xe9'\n", "can't decode byte 0xe9", id="not UTF-8"),
            pytest.param(b"# coding: ascii\nx = '\xe9'\n", "can't decode byte 0xe9", id="not its cookie"),
            pytest.param(b"# coding: no-such\n", "SyntaxError: unknown encoding: no-such", id="unknown cookie"),
            pytest.param("x = 1\n".encode("utf-16"), "null bytes", id="UTF-16"),
            pytest.param(b"x = 1\n\0", "null bytes", id="null bytes"),
            pytest.param(b"x = " + b"-" * 200_000 + b"1", "nested too deeply", id="parser stack"),
            pytest.param(b"x" + b".a" * 100_000, "RecursionError: nested too deeply", id="recursion"),
        ],
    )
    def test_what_does_not_parse_is_listed_with_its_reason(
        self, make_file: MakeFile, content: bytes, reason: str
    ) -> None:
        actual = reason_of(make_file("x.py", content))
        assert reason in actual
        assert "\n" not in actual

    def test_a_file_that_is_gone_is_listed_with_its_reason(self, tmp_path: Path) -> None:
        assert reason_of(str(tmp_path / "gone.py")) == "FileNotFoundError: No such file or directory"

    def test_an_error_of_another_kind_keeps_its_text(
        self, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(source: bytes) -> object:
            # Older releases of Python say this for null bytes.
            raise ValueError(f"{len(source)} bytes: source code string cannot contain null bytes")

        monkeypatch.setattr(module, "_parse", refuse)
        assert reason_of(make_file("x.py")) == "ValueError: 0 bytes: source code string cannot contain null bytes"

    def test_deep_but_valid_statements_do_not_exhaust_the_walk(self, make_file: MakeFile) -> None:
        depth = 90
        source = "".join(f"{' ' * level}def f():\n" for level in range(depth)) + " " * depth + "import a\n"
        assert parse_file(make_file("x.py", source)) == Parsed(depth + 1, functions=depth, imports=("a",))

    @pytest.mark.parametrize("action", get_args(Action))
    def test_no_warning_escapes_and_other_warnings_still_do(self, make_file: MakeFile, action: Action) -> None:
        source = "x = '\\d'\ny = 1or 0\n"
        path = make_file("x.py", source)
        with pytest.warns((DeprecationWarning, SyntaxWarning)):
            ast.parse(source)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter(action)
            parsed = parse_file(path)
            assert parsed == Parsed(lines=2)
            assert caught == []
            if action == "always":
                warnings.warn("mine", SyntaxWarning, stacklevel=1)
                assert [str(one.message) for one in caught] == ["mine"]

    def test_the_record_is_small(self, make_file: MakeFile) -> None:
        parsed = parse_file(make_file("x.py", "import os, sys\nfrom typing import Any\n"))
        data = pickle.dumps(parsed)
        assert pickle.loads(data) == parsed
        assert len(data) < 100


names = st.sampled_from(["os", "sys", "typing", "a.b", ".", "数"])
paths = st.text(alphabet="ab/\n\udc80", max_size=4)
parsed_files = st.builds(
    Parsed,
    lines=st.integers(0, 5),
    functions=st.integers(0, 5),
    methods=st.integers(0, 5),
    classes=st.integers(0, 5),
    imports=st.frozensets(names).map(lambda found: tuple(sorted(found))),
    broken=st.none() | st.builds(Broken, path=paths, reason=st.sampled_from(["SyntaxError: a", "OSError: b"])),
)
groups = st.lists(parsed_files, max_size=6)


def census_of(files: Sequence[Parsed]) -> Census:
    return rank_modules([merge_counts(files)])


class TestMerge:
    def test_sums_and_importing_files(self) -> None:
        merged = merge_counts(
            [
                Parsed(1, 2, 3, 4, ("a", "b")),
                Parsed(broken=Broken("z", "why")),
                Parsed(10, 20, 30, 40, ("b",)),
                Parsed(broken=Broken("y", "why")),
            ]
        )
        broken = (Broken("y", "why"), Broken("z", "why"))
        assert merged == Counts(4, 11, 22, 33, 44, {"a": 1, "b": 2}, broken)
        assert pickle.loads(pickle.dumps(merged)) == merged

    def test_nothing_is_neutral(self) -> None:
        assert merge_counts([]) == combine_counts([]) == Counts(0, 0, 0, 0, 0, {}, ())

    @given(groups, groups)
    def test_commutative(self, left: list[Parsed], right: list[Parsed]) -> None:
        assert merge_counts(left + right) == merge_counts(right + left)
        one, other = merge_counts(left), merge_counts(right)
        assert combine_counts([one, other]) == combine_counts([other, one]) == merge_counts(left + right)

    @given(groups, groups, groups)
    def test_associative(self, first: list[Parsed], second: list[Parsed], third: list[Parsed]) -> None:
        a, b, c = map(merge_counts, (first, second, third))
        nested_left = combine_counts([combine_counts([a, b]), c])
        nested_right = combine_counts([a, combine_counts([b, c])])
        assert nested_left == nested_right == combine_counts([a, b, c])

    @given(st.lists(groups, max_size=5), st.randoms(use_true_random=False))
    def test_the_split_never_shows_in_the_text(self, split: list[list[Parsed]], shuffler: random.Random) -> None:
        whole = as_text(census_of([one for group in split for one in group])).encode()
        for group in split:
            shuffler.shuffle(group)
        shuffler.shuffle(split)
        assert as_text(rank_modules([merge_counts(group) for group in split])).encode() == whole


class TestRank:
    def test_most_imported_first_then_by_name(self) -> None:
        census = census_of([Parsed(imports=("b", "c")), Parsed(imports=("a", "c")), Parsed(imports=("c",))])
        assert census.top == (Ranked("c", 3), Ranked("a", 1), Ranked("b", 1))
        assert (census.files, census.imports, census.modules) == (3, 5, 3)

    def test_the_ranking_is_cut_and_the_totals_are_not(self) -> None:
        census = census_of([Parsed(imports=tuple(f"m{number:02}" for number in range(TOP + 5)))])
        assert [one.module for one in census.top] == [f"m{number:02}" for number in range(TOP)]
        assert census.modules == census.imports == TOP + 5

    def test_serial_gives_the_same_text_as_any_split(self, make_file: MakeFile, tmp_path: Path) -> None:
        make_file("top/__init__.py", "import os\nfrom . import a\n")
        make_file("top/a.py", "from os import path\nclass A:\n    def m(self): ...\n")
        make_file("top/broken.py", "def (")
        make_file("encoding.py", b"'\xe9'")
        files = find_files([tmp_path])
        serial = run_serial(files)
        assert as_text(serial) == (
            "files 4\nlines 5\nfunctions 0\nmethods 1\nclasses 1\nimports 3\nmodules 2\n"
            "top 2\n2 os\n1 top\n"
            "broken 2\n"
            f"{files[0]}: {reason_of(files[0])}\n"
            f"{files[3]}: SyntaxError: invalid syntax (line 1)\n"
        )
        parsed = [parse_file(path) for path in files]
        for cut in range(len(parsed) + 1):
            split = [merge_counts(parsed[cut:]), merge_counts(parsed[:cut])]
            assert as_text(rank_modules(split)) == as_text(serial)


class TestText:
    def test_what_a_terminal_cannot_take_is_escaped(self) -> None:
        assert printable("é /a\nb\x1b[0m\udc80") == "é /a\\nb\\x1b[0m\\udc80"
        text = as_text(census_of([Parsed(broken=Broken("a\nb\udc80", "why"))]))
        assert text.encode().endswith(b"broken 1\na\\nb\\udc80: why\n")


class TestRender:
    @staticmethod
    def shown(census: Census) -> str:
        console = Console(file=io.StringIO(), width=140)
        console.print(render(census))
        file = console.file
        assert isinstance(file, io.StringIO)
        return file.getvalue()

    def test_the_table_the_totals_and_the_first_broken_files(self) -> None:
        broken = [Parsed(broken=Broken(f"/[bold]{number}.py", "why")) for number in range(SHOWN_BROKEN + 2)]
        text = self.shown(census_of([*broken, Parsed(12345, 1, 2, 3, ("os", "sys"))]))
        assert "os" in text
        assert "8 files, 12,345 lines, 1 functions, 2 methods, 3 classes, 2 imports of 2 modules" in text
        assert f"{SHOWN_BROKEN + 2} of the files could not be parsed" in text
        assert "/[bold]0.py: why" in text
        assert f"{SHOWN_BROKEN}.py" not in text
        assert "and 2 more" in text

    def test_nothing_is_said_about_broken_files_if_there_are_none(self) -> None:
        assert "parsed" not in self.shown(census_of([Parsed(1)]))
