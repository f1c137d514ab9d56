"""Scripts whose classes and functions travel: nothing of the driver's changes, and what comes back is its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

TIMEOUT = 50

#: Each part of the script has its own check. One program, because starting workers takes seconds.
SCRIPT = r'''
import abc, collections, dataclasses, enum, functools, typing
import bndl

threshold = 1

class Model:
    cache = {}
    made = 0
    def above(self, x): return x > threshold
    @staticmethod
    def twice(x): return 2 * x
    @classmethod
    def name(cls): return cls.__name__

class Slotted:
    __slots__ = ("a", "__weakref__")
    def __init__(self, a): self.a = a

@dataclasses.dataclass(slots=True)
class Point:
    x: int
    y: list = dataclasses.field(default_factory=list)

@dataclasses.dataclass(frozen=True, slots=True)
class Frozen:
    x: int

class Color(enum.Enum):
    RED = 1
    CRIMSON = 1
    GREEN = 2

class Planet(enum.Enum):
    EARTH = (5.9, 6.3)
    def __init__(self, mass, radius): self.mass, self.radius = mass, radius

class Coordinate(bytes, enum.Enum):
    PX = (0, "P.X")
    def __new__(cls, value, label):
        made = bytes.__new__(cls, [value])
        made._value_, made.label = value, label
        return made

class Permission(enum.Flag):
    R = 1
    W = 2
    RW = 3

class Base:
    registry = {}
    def __init_subclass__(cls, *, tag): Base.registry[tag] = cls

class First(Base, tag="first"): pass

class Meta(type):
    registry = []
    def __new__(mcls, name, bases, namespace, **options):
        if name in [each.__name__ for each in Meta.registry]:
            raise TypeError("twice " + name)
        made = super().__new__(mcls, name, bases, namespace)
        Meta.registry.append(made)
        return made
    def __init__(cls, name, bases, namespace, **options): super().__init__(name, bases, namespace)

class WithMeta(metaclass=Meta, strict=True): pass

class Shape(abc.ABC):
    @abc.abstractmethod
    def area(self): ...

class Virtual: pass
Shape.register(Virtual)

class Square(Shape):
    def area(self): return 4

T = typing.TypeVar("T")

class Box(typing.Generic[T]):
    def __init__(self, value): self.value = value

class Sized(typing.Protocol):
    size: int

Pair = collections.namedtuple("Pair", "left right")

class Typed(typing.NamedTuple):
    left: int

class Single:
    instance = None
    def __new__(cls):
        if cls.instance is None: cls.instance = super().__new__(cls)
        return cls.instance
    def __reduce__(self): return Single, ()

class Trouble(Exception):
    def __init__(self, code): super().__init__(code); self.code = code

class Outer:
    class Inner:
        pass

class Lazy:
    @functools.cached_property
    def value(self): return 42

class Left:
    def other(self): return Right()

class Right:
    def other(self): return Left()

@functools.singledispatch
def show(x): return "object"

@show.register
def _(x: int): return "int"

def outer():
    class Local:
        def __init__(self): super().__init__(); self.x = 1
        def get(self): return self.x
    return Local

Local = outer()

def named(x): return x + threshold

def fail(x): raise Trouble(x)

def counted(x):
    global calls
    calls += 1
    return calls

calls = 0

def main():
    global threshold
    with bndl.connect(workers=2, progress=False) as ctx:
        check_issue(ctx)
        check_values(ctx)
        check_functions(ctx)
        check_errors(ctx)
        check_chain(ctx)
        check_changes(ctx)

def check_issue(ctx):
    global threshold
    cache, m = Model.cache, Model()
    above = vars(Model)["above"]
    assert list(ctx.map(m.above, [1, 2])) == [False, True]
    threshold = 10
    assert not m.above(5)
    assert Model.cache is cache
    assert vars(Model)["above"] is above
    # A later job sees what changed; one that is under way does not.
    assert list(ctx.map(m.above, [5, 11])) == [False, True]
    threshold = 1
    assert list(ctx.map(lambda x: m.above(x), [5, 11])) == [True, True]
    before = ctx.map(named, range(3000))
    assert next(before) == 1
    threshold = 100
    assert list(ctx.map(named, range(3))) == [100, 101, 102]
    assert list(before) == list(range(2, 3001))
    threshold = 1

def attributes_of(value):
    # copyreg notes the names of slots.
    return {name: value for name, value in vars(type(value)).items() if name != "__slotnames__"}

def check_values(ctx):
    values = [
        Model(), Slotted(3), Point(1, [2]), Frozen(4), Color.RED, Color.CRIMSON, Planet.EARTH, Coordinate.PX,
        Permission.RW, Permission.R | Permission.W, First(), WithMeta(), Square(), Virtual(), Box(5), Pair(1, 2),
        Typed(3), Single(),
        Outer.Inner(), Lazy(), Left(), Right(), Local(), Trouble(7),
    ]
    attributes = [attributes_of(each) for each in values]
    registries = dict(Base.registry), list(Meta.registry)
    for back in (list(ctx.map(lambda x: x, values)), ctx.submit(lambda: values).result()):
        for value, one in zip(values, back, strict=True):
            assert type(one) is type(value), (one, value)
        assert back[4] is Color.RED and back[5] is Color.RED and back[6] is Planet.EARTH and back[7] is Coordinate.PX
        assert back[8] is Permission.RW and back[9] is Permission.RW
        assert back[1].a == 3 and back[2] == Point(1, [2]) and back[3] == Frozen(4) and back[17] is Single()
        assert not hasattr(back[2], "__dict__")
    assert attributes == [attributes_of(each) for each in values]
    assert registries == (Base.registry, Meta.registry)

    def look():
        assert isinstance(Virtual(), Shape) and not isinstance(Model(), Shape) and isinstance(Square(), Shape)
        assert Square().area() == 4
        try: Shape()
        except TypeError: pass
        else: raise AssertionError("abstract")
        assert Base.registry == {"first": First} and Meta.registry == [WithMeta]
        class Second(Base, tag="second"): pass
        assert Base.registry.pop("second") is Second
        assert Color(1) is Color.RED is Color.CRIMSON and list(Color) == [Color.RED, Color.GREEN]
        assert (Planet.EARTH.mass, Planet.EARTH.radius) == (5.9, 6.3) and Planet((5.9, 6.3)) is Planet.EARTH
        assert (Coordinate.PX, Coordinate.PX.label, Coordinate.PX.value) == (bytes([0]), "P.X", 0)
        assert Permission.R | Permission.W is Permission.RW and Permission(3) is Permission.RW
        assert not hasattr(Point(1), "__dict__") and Point(1).y == [] and not hasattr(Slotted(1), "__dict__")
        try: Frozen(1).x = 2
        except dataclasses.FrozenInstanceError: pass
        else: raise AssertionError("frozen")
        assert dataclasses.fields(Point)[0].default is dataclasses.MISSING
        assert dataclasses.replace(Frozen(1), x=5) == Frozen(5)
        assert Box[int].__args__ == (int,) and Box.__parameters__ == (T,)
        assert type(Left().other().other()) is Left
        assert Lazy().value == 42 and Local().get() == 1
        assert Model.twice(4) == 8 and Model.name() == "Model" and Model().twice(4) == 8
        assert show(1) == "int" and show("") == "object"
        assert Single() is Single()
        return True
    assert ctx.submit(look).result() and list(ctx.map(lambda _: look(), range(8))) == [True] * 8

def check_functions(ctx):
    m = Model()
    back = list(ctx.map(lambda f: f, [named, show, Model.above, m.above, Local.get, Model.name, fail, main, Model, T]))
    assert back[:3] == [named, show, Model.above] and back[3].__func__ is Model.above
    assert back[4].__globals__ is globals() and back[5].__func__ is Model.name.__func__
    assert back[6:] == [fail, main, Model, T]
    made = ctx.submit(lambda: lambda: threshold).result()
    assert made.__globals__ is globals() and made() == threshold
    made = ctx.submit(Local().get).result
    assert made() == 1
    numbers = set(ctx.map(counted, range(6)))
    assert calls == 0 and max(numbers) >= 3, numbers

def check_errors(ctx):
    for call in (ctx.submit(fail, 3).result, lambda: list(ctx.map(fail, [3]))):
        try: call()
        except bndl.errors.TaskFailed as error:
            assert type(error.__cause__) is Trouble and error.__cause__.code == 3
        else: raise AssertionError("no error")
    state = {"failed": False}
    assert ctx.submit(abs, -1).result() == 1

def check_chain(ctx):
    """Workers read what other workers made; their functions know nothing of the class."""
    job = bndl.Job("chain")
    made = job.stage(lambda x: (Point(x), Color.GREEN, Local()), range(8))
    again = job.stage(lambda values: [value for value in values], made.split(2))
    job.stage(lambda lists: [each for some in lists for each in some], [again.results])
    (result,) = ctx.run(job)
    assert [point for point, _, _ in result] == [Point(x) for x in range(8)]
    assert all(color is Color.GREEN and type(local) is Local for _, color, local in result)

    def make():
        Here = collections.namedtuple("Here", "a b")
        class There(Model):
            def hello(self): return threshold, Color.RED
        return Here(1, 2), There()
    here, there = ctx.submit(make).result()
    assert here == (1, 2) and here.a == 1 and isinstance(there, Model) and there.hello() == (1, Color.RED)
    assert ctx.submit(lambda: (here.b, there.hello()[1] is Color.RED)).result() == (2, True)
    assert type(ctx.submit(lambda: there).result()) is type(there)

def check_changes(ctx):
    """A class is defined again between two jobs, as in a notebook."""
    global Model
    old = Model()
    before = Model
    class Model:
        def above(self, x): return "new"
    Model.__qualname__ = "Model"
    new = Model()
    a, b, kinds = ctx.submit(lambda: (old, new, (old.above(5), new.above(5), type(old) is type(new)))).result()
    assert type(a) is before and type(b) is Model and kinds == (True, "new", False)
    Color.extra = 5
    assert ctx.submit(lambda: Color.extra).result() == 5
    First.extra = 6
    assert ctx.submit(lambda: First.extra).result() == 6
    del First.extra
    assert ctx.submit(lambda: hasattr(First, "extra")).result() is False

if __name__ == "__main__":
    main()
    print("all is well")
'''


def check(command: list[str], where: Path, text: str = "") -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, *command],
        input=text,
        capture_output=True,
        check=False,
        text=True,
        timeout=TIMEOUT,
        cwd=where,
        env=environment,
    )
    assert done.stdout.splitlines()[-1:] == ["all is well"], done.stderr
    assert done.stderr == ""


def test_a_script(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    check(["script.py"], tmp_path)


def test_a_module_of_a_package(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package/__init__.py").touch()
    (tmp_path / "package/script.py").write_text(SCRIPT)
    check(["-m", "package.script"], tmp_path)


def test_standard_input(tmp_path: Path) -> None:
    check(["-"], tmp_path, SCRIPT)


def test_an_argument(tmp_path: Path) -> None:
    check(["-c", SCRIPT], tmp_path)


def test_bndl_run(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    check(["-c", "from bndl.cli.main import main; main()", "run", "script.py"], tmp_path)
