"""CPU profiles in the formats of other tools."""

from __future__ import annotations

import json
import marshal
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bndl import _version
from bndl.profiling.profile import Function
from bndl.profiling.tree import build_tree, walk

if TYPE_CHECKING:
    from bndl.profiling.stats import CpuStats

__all__ = ["to_callgrind", "to_pstats", "to_speedscope", "write_callgrind", "write_pstats", "write_speedscope"]

_NANO = 1e9


def to_pstats(stats: CpuStats) -> dict[Any, Any]:
    """The table of the standard library's ``pstats``."""
    table = {}
    for stat in stats:
        callers = {
            _pstats_key(caller): (cost.calls, cost.primitive, cost.own, cost.total)
            for caller, cost in stat.callers.items()
        }
        table[_pstats_key(stat.function)] = (stat.nactualcall, stat.ncall, stat.tsub, stat.ttot, callers)
    return table


def write_pstats(stats: CpuStats, path: Path) -> None:
    """Write what ``pstats.Stats``, snakeviz and others read."""
    path.write_bytes(marshal.dumps(to_pstats(stats)))


def _pstats_key(function: Function) -> tuple[str, int, str]:
    if function.file:
        return function.file, function.line, function.name
    return "~", 0, f"<{function.label()}>"


def to_callgrind(stats: CpuStats) -> Iterator[str]:
    """The lines of a callgrind file, in nanoseconds."""
    yield "# callgrind format"
    yield "version: 1"
    yield f"creator: bndl {_version.__version__}"
    yield "positions: line"
    yield f"events: Nanoseconds_{stats.clock}"
    yield f"summary: {_nano(stats.seconds)}"
    files: dict[str, int] = {}
    names: dict[Function, int] = {}
    for stat in stats:
        yield ""
        yield f"fl={_named(files, stat.function.file or '~', stat.function.file or '~')}"
        yield f"fn={_named(names, stat.function, _callgrind_name(stat.function))}"
        yield f"{stat.function.line} {_nano(stat.tsub)}"
        for callee, cost in stat.callees.items():
            yield f"cfi={_named(files, callee.file or '~', callee.file or '~')}"
            yield f"cfn={_named(names, callee, _callgrind_name(callee))}"
            yield f"calls={max(cost.calls, 1)} {callee.line}"
            yield f"{stat.function.line} {_nano(cost.total)}"


def write_callgrind(stats: CpuStats, path: Path) -> None:
    """Write what KCachegrind and QCachegrind read."""
    path.write_text("\n".join(to_callgrind(stats)) + "\n", encoding="utf-8")


def _named(known: dict[Any, int], key: Any, name: str) -> str:
    """A name with its number the first time, the number alone after that."""
    if key in known:
        return f"({known[key]})"
    known[key] = len(known) + 1
    return f"({known[key]}) {name}"


def _callgrind_name(function: Function) -> str:
    return function.name if function.file else function.label()


def _nano(seconds: float) -> int:
    return round(seconds * _NANO)


def to_speedscope(stats: CpuStats) -> dict[str, Any]:
    """A speedscope file: all together, then each stage, then each worker."""
    frames: dict[Function, int] = {}
    views = [("all", stats)]
    for by in ("stage", "worker"):
        views += [(f"{by} {name}", part) for name, part in stats.split(by).items()]
    profiles = [_speedscope_profile(name, view, frames) for name, view in views]
    return {
        "$schema": "https://www.speedscope.app/file-format-schema.json",
        "exporter": f"bndl {_version.__version__}",
        "name": f"bndl: {stats.title}",
        "activeProfileIndex": 0,
        "shared": {
            "frames": [
                {"name": each.name, "file": each.path, "line": each.line} if each.file else {"name": each.label()}
                for each in frames
            ]
        },
        "profiles": profiles,
    }


def write_speedscope(stats: CpuStats, path: Path) -> None:
    """Write what speedscope reads."""
    path.write_text(json.dumps(to_speedscope(stats), separators=(",", ":")), encoding="utf-8")


def _speedscope_profile(name: str, stats: CpuStats, frames: dict[Function, int]) -> dict[str, Any]:
    samples = []
    weights = []
    for path, node in walk(build_tree(stats.merged)):
        if node.own > 0:
            samples.append([frames.setdefault(function, len(frames)) for function in path])
            weights.append(node.own)
    return {
        "type": "sampled",
        "name": name,
        "unit": "seconds",
        "startValue": 0,
        "endValue": sum(weights),
        "samples": samples,
        "weights": weights,
    }
