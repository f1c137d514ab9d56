"""Every error is drawn in the tree on top of ``bndl/errors.py``, is exported, and survives pickling."""

import pickle
import re
from inspect import get_annotations, getdoc

import pytest

from bndl import errors
from bndl.errors import AttemptRecord, BndlError, DeathCertificate
from bndl.schedule.instructions import End

#: A value for a fact of each type. A fact of another type needs one here.
SAMPLES: dict[str, object] = {
    "DeathCertificate | None": DeathCertificate("worker.1", "its process was ended by SIGSEGV", last_lines=("no",)),
    "Mapping[str, str]": {"python": "3.11.7"},
    "Sequence[AttemptRecord]": [AttemptRecord(1, "worker.1", "failed", "ValueError: no", 0.5)],
    "Sequence[str]": ["worker.1", "worker.2"],
    "float": 2.5,
    "int": 3,
    "int | None": -9,
    "str": "text",
}

#: ``│   ├── Name    meaning``: what stands before the two dashes tells the depth.
BRANCH = re.compile(r"^(?P<indent>[│ ]*)[├└]── (?P<name>\w+) {2,}\S", re.MULTILINE)

EXCEPTIONS = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, BaseException)]
TREE = [cls for cls in EXCEPTIONS if issubclass(cls, BndlError)]


def drawn_parents() -> dict[str, str]:
    """The tree as it is drawn: each name with its parent's."""
    path = ["BndlError"]
    parents = {}
    for match in BRANCH.finditer(getdoc(errors) or ""):
        depth = len(match["indent"]) // 4  # the drawing is indented, so the root's children have depth 1
        del path[depth:]
        parents[match["name"]] = path[-1]
        path.append(match["name"])
    return parents


def make(cls: type[BndlError]) -> BndlError:
    """An error with all its facts, made as the code makes it."""
    names = {name: kind for base in cls.__mro__ for name, kind in get_annotations(base).items()}
    return cls("what happened; what to do next", **{name: SAMPLES[str(kind)] for name, kind in names.items()})


def test_the_drawing_is_the_tree() -> None:
    assert drawn_parents() == {cls.__name__: cls.__bases__[0].__name__ for cls in TREE if cls is not BndlError}


@pytest.mark.parametrize("cls", EXCEPTIONS)
def test_it_is_exported_and_documented(cls: type[BaseException]) -> None:
    assert cls.__name__ in errors.__all__
    assert cls.__doc__


@pytest.mark.parametrize("cls", TREE)
def test_it_survives_pickling_with_its_facts_and_cause(cls: type[BndlError]) -> None:
    error = make(cls)
    error.__cause__ = ValueError("why")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is cls
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)
    assert repr(copy.__cause__) == repr(error.__cause__)


@pytest.mark.parametrize("cls", TREE)
def test_every_fact_in_its_docstring_is_an_attribute(cls: type[BndlError]) -> None:
    documented = re.findall(r"^    (\w+): ", (getdoc(cls) or "").partition("Attributes:")[2], re.MULTILINE)
    assert documented == list(get_annotations(cls))


@pytest.mark.parametrize("cls", [cls for cls in EXCEPTIONS if cls not in TREE])
def test_what_is_outside_the_tree_survives_pickling_too(cls: type[BaseException]) -> None:
    error = cls("text")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (cls, str(error))


def test_the_outcomes_of_attempts_are_named() -> None:
    (line,) = re.findall(r"outcome: (.*?)\n +cause:", getdoc(AttemptRecord) or "", re.DOTALL)
    assert set(re.findall("``(.*?)``", line)) == {"succeeded", *map(str, End)}
