"""The work of ``bndl demo``: a census of the Python code on this machine, in pure functions.

::

    find_files ── paths ──> parse_file ── Parsed ──> merge_counts ── Counts ──> rank_modules ── Census ──> as_text
                            (per file)               (per group)                (once)

Every step gives the same answer whatever way the files were split into groups and in whatever order the groups came
back, so two runs can be compared to the byte. The records are NamedTuples: they pickle smaller and faster than
dataclasses do.
"""

from __future__ import annotations

import ast
import os
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "Broken",
    "Census",
    "Counts",
    "Parsed",
    "Ranked",
    "as_text",
    "combine_counts",
    "find_files",
    "merge_counts",
    "parse_file",
    "printable",
    "rank_modules",
    "run_serial",
]

#: How many modules a census ranks if nothing else is asked for.
TOP = 20

#: The file name that the parser sees, so that one warnings filter can silence all its warnings and no others.
_SOURCE_NAME = "bndl_census_source"

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)

#: Compiled files, and the folders in the standard library's folder that hold some other environment's packages.
_NOT_STDLIB = frozenset({"__pycache__", "site-packages", "dist-packages"})

#: Per kind of node on the way to a statement, the fields that hold statements. Definitions and imports are statements,
#: so the walk never enters an expression.
_NESTING: list[type[ast.AST]] = [*ast.stmt.__subclasses__(), ast.ExceptHandler, ast.match_case]
_BLOCKS: Mapping[type[ast.AST], tuple[str, ...]] = {
    kind: tuple(field for field in kind._fields if field in {"body", "handlers", "orelse", "finalbody", "cases"})
    for kind in _NESTING
}


class Broken(NamedTuple):
    """A file that could not be read or parsed."""

    path: str
    #: The name of the error and its text, on one line.
    reason: str


class Parsed(NamedTuple):
    """What is counted in one file. All zero if the file is broken."""

    lines: int = 0
    #: Functions outside of a class body, nested ones too.
    functions: int = 0
    #: Functions directly in a class body.
    methods: int = 0
    classes: int = 0
    #: The imported modules, each once, sorted.
    imports: tuple[str, ...] = ()
    broken: Broken | None = None


class Counts(NamedTuple):
    """The sums over a group of files."""

    #: All files, the broken ones included.
    files: int
    lines: int
    functions: int
    methods: int
    classes: int
    #: Per module, the number of files that import it.
    importers: dict[str, int]
    #: Sorted.
    broken: tuple[Broken, ...]


class Ranked(NamedTuple):
    """A module and how many files import it."""

    module: str
    files: int


class Census(NamedTuple):
    """The result of the whole census."""

    #: All files, the broken ones included.
    files: int
    lines: int
    functions: int
    methods: int
    classes: int
    #: Pairs of a file and a module that it imports.
    imports: int
    #: Distinct imported modules.
    modules: int
    #: The most imported modules, by descending count, then by name.
    top: tuple[Ranked, ...]
    #: Sorted.
    broken: tuple[Broken, ...]


def find_files(paths: Sequence[Path] | None = None) -> list[str]:
    """Find Python files, each once, by its real path.

    Args:
        paths: Files, taken as they are, and folders, searched for ``.py`` files. None means the standard library and
            the site-packages of the running interpreter.

    Returns:
        The real paths, sorted. A folder that cannot be read is among them, so that the census lists it as broken
        instead of passing over it.

    Raises:
        FileNotFoundError: A path is neither a file nor a folder.
    """
    found: set[str] = set()
    if paths is None:
        for path in _folders("stdlib", "platstdlib"):
            found.update(_walk(str(path), skip=_NOT_STDLIB))
        paths = _folders("purelib", "platlib")
    for path in paths:
        if path.is_dir():
            found.update(_walk(str(path)))
        elif path.is_file():
            found.add(os.path.realpath(path))
        else:
            raise FileNotFoundError(
                f"no file or folder at {str(path)!r}: check its spelling, or give no path to take the census of the "
                f"standard library and site-packages"
            )
    return sorted(found)


def _folders(*names: str) -> list[Path]:
    # The folder of the standard library is not there if it is a zip file; the others are made when first needed.
    return [path for name in names if (path := Path(sysconfig.get_path(name))).is_dir()]


def _walk(root: str, skip: frozenset[str] = frozenset({"__pycache__"})) -> Iterator[str]:
    """Yield the real path of each ``.py`` file under a folder, and of each folder that cannot be read."""
    unreadable: list[OSError] = []
    # Links to folders are followed; what was seen is remembered because they can form a loop.
    seen: set[str] = set()
    for folder, subfolders, names in os.walk(root, onerror=unreadable.append, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders[:] = [name for name in subfolders if name not in skip]
        for name in names:
            if name.endswith(".py"):
                path = f"{real}{os.sep}{name}"
                # Leaves out links that lead nowhere. Path.is_file would raise where one leads into a closed folder.
                if os.path.isfile(path):  # noqa: PTH113
                    # The folder's path is real already, so only a link needs the many system calls.
                    yield os.path.realpath(path) if Path(path).is_symlink() else path
    yield from (os.path.realpath(error.filename) for error in unreadable)


def parse_file(path: str) -> Parsed:
    """Count the lines, definitions and imported modules of one file.

    A relative import becomes the absolute name of its module if the package can be told from the folders; else it
    stays as written, with its dots. ``from package import name`` counts as an import of ``package``.

    Args:
        path: The file. Its coding cookie and byte order mark are honoured.

    Returns:
        The counts; for a file that cannot be read or parsed, zeros and the reason. Nothing is raised for it.
    """
    try:
        source = Path(path).read_bytes()
        tree = _parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError) as error:
        return Parsed(broken=Broken(path, _reason(error)))

    functions = methods = classes = 0
    modules: set[str] = set()
    relative: list[ast.ImportFrom] = []
    for node, in_class in _statements(tree):
        if isinstance(node, ast.Import):
            modules.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                relative.append(node)
            elif node.module:
                modules.add(node.module)
        elif isinstance(node, _FUNCTIONS):
            methods += in_class
            functions += not in_class
        elif isinstance(node, ast.ClassDef):
            classes += 1
    if relative:
        package = _package_of(path)
        modules.update(_resolve(package, node.level, node.module) for node in relative)
    # bytes.splitlines splits at the line ends that Python's tokenizer knows, no others.
    return Parsed(len(source.splitlines()), functions, methods, classes, tuple(sorted(modules)))


def _statements(tree: ast.Module) -> Iterator[tuple[ast.AST, bool]]:
    """Yield every statement, handler and case, and whether it belongs to the body of a class."""
    # Not recursive: the source may be deep.
    pending: list[tuple[Sequence[ast.AST], bool]] = [(tree.body, False)]
    while pending:
        nodes, in_class = pending.pop()
        for node in nodes:
            yield node, in_class
            fields = _BLOCKS[type(node)]
            if fields:
                # An ``if`` in a class body still defines methods, a function in it does not.
                within = isinstance(node, ast.ClassDef) or (in_class and not isinstance(node, _FUNCTIONS))
                pending.extend((getattr(node, field), within) for field in fields)


def _parse(source: bytes) -> ast.Module:
    # Not catch_warnings: it swaps the filters of the whole process, and other threads may be in it at the same time.
    # This filter matches nothing but the text parsed here. It is set each time because others may reset the filters.
    warnings.filterwarnings("ignore", module=_SOURCE_NAME)
    return ast.parse(source, _SOURCE_NAME)


def _reason(error: Exception) -> str:
    kind = type(error).__name__
    match error:
        case SyntaxError():
            # Line 0 and None are what the parser says when the error is not in a line, as with an unknown encoding.
            return f"{kind}: {error.msg} (line {error.lineno})" if error.lineno else f"{kind}: {error.msg}"
        case OSError():
            return f"{kind}: {error.strerror}"
        case RecursionError() | MemoryError():
            # Which of the two it is, and with what text, depends on the version of Python.
            return f"{kind}: nested too deeply for the parser"
        case _:
            return f"{kind}: {error}"


def _package_of(path: str) -> list[str]:
    """The parts of the name of the package a file is in: the longest chain of folders with an ``__init__.py``."""
    parts: list[str] = []
    for folder in Path(path).parents:
        # The root of the file system has no name, so it is no package.
        if not folder.name or not (folder / "__init__.py").is_file():
            break
        parts.append(folder.name)
    return parts[::-1]


def _resolve(package: Sequence[str], level: int, module: str | None) -> str:
    """The absolute name of a relative import, or the import as written if it leads out of the package."""
    if level > len(package):
        return "." * level + (module or "")
    base = package[: len(package) - level + 1]
    return ".".join([*base, module] if module else base)


def merge_counts(parsed: Iterable[Parsed]) -> Counts:
    """Sum up a group of files, in any order."""
    files = lines = functions = methods = classes = 0
    importers: Counter[str] = Counter()
    broken: list[Broken] = []
    for one in parsed:
        files += 1
        lines += one.lines
        functions += one.functions
        methods += one.methods
        classes += one.classes
        importers.update(one.imports)
        if one.broken is not None:
            broken.append(one.broken)
    return Counts(files, lines, functions, methods, classes, dict(importers), tuple(sorted(broken)))


def combine_counts(merged: Iterable[Counts]) -> Counts:
    """Sum up groups of files, in any order and grouping."""
    files = lines = functions = methods = classes = 0
    importers: Counter[str] = Counter()
    broken: list[Broken] = []
    for one in merged:
        files += one.files
        lines += one.lines
        functions += one.functions
        methods += one.methods
        classes += one.classes
        importers.update(one.importers)
        broken.extend(one.broken)
    return Counts(files, lines, functions, methods, classes, dict(importers), tuple(sorted(broken)))


def rank_modules(merged: Iterable[Counts], top: int = TOP) -> Census:
    """Sum up all groups and rank the ``top`` modules that most files import."""
    total = combine_counts(merged)
    ranked = sorted(total.importers.items(), key=lambda item: (-item[1], item[0]))
    return Census(
        files=total.files,
        lines=total.lines,
        functions=total.functions,
        methods=total.methods,
        classes=total.classes,
        imports=sum(total.importers.values()),
        modules=len(ranked),
        top=tuple(Ranked(module, files) for module, files in ranked[:top]),
        broken=total.broken,
    )


def run_serial(files: Iterable[str], top: int = TOP) -> Census:
    """Take the whole census in this process, one file after the other."""
    return rank_modules([merge_counts(map(parse_file, files))], top)


def as_text(census: Census) -> str:
    """The whole result as plain text. The same files give the same bytes, however the work was split."""
    totals = [f"{name} {getattr(census, name)}" for name in Census._fields if name not in {"top", "broken"}]
    top = [f"{files} {module}" for module, files in census.top]
    broken = [f"{path}: {reason}" for path, reason in census.broken]
    sections = [*totals, f"top {len(top)}", *top, f"broken {len(broken)}", *broken]
    return "".join(f"{printable(line)}\n" for line in sections)


def printable(text: str) -> str:
    """Escape what a terminal or UTF-8 cannot take: file names may hold control characters and undecodable bytes."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
