"""When callbacks for the end of a process run, each in a process of its own."""

import subprocess
import sys

import pytest

TIMEOUT = 30.0


def run(program: str) -> tuple[int, str, str]:
    """Run a program. Returns its exit code, what it wrote on standard output, and on standard error."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT, check=False)
    return done.returncode, done.stdout, done.stderr


BEFORE = "import atexit, os, sys, threading\natexit.register(print, 'registered before')\nfrom bndl.exits import *\n"
AFTER = "atexit.register(print, 'registered after')\n"


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "raise SystemExit(3)", "threading.Thread(target=int).start()"])
def test_callbacks_run_after_all_handlers_whenever_they_were_registered(end: str) -> None:
    program = f"{BEFORE}at_last(lambda: print('first given'))\nat_last(lambda: print('second given'))\n{AFTER}{end}"
    code, out, err = run(program)
    assert out.splitlines() == ["registered after", "registered before", "second given", "first given"]
    assert (code, err) == (3 if "3" in end else 0, "")


def test_a_callback_that_fails_does_not_keep_the_others_from_running() -> None:
    _, out, err = run(f"{BEFORE}at_last(lambda: print('other'))\nat_last(lambda: 1 / 0)\n")
    assert out.splitlines()[-1] == "other"
    assert "ZeroDivisionError" in err


def test_a_callback_is_called_once_however_often_it_was_given() -> None:
    _, out, _ = run(f"{BEFORE}def end(): print('end')\nat_last(end)\nat_last(end)\n")
    assert out.splitlines().count("end") == 1


def test_a_forked_process_does_not_call_what_its_parent_was_given() -> None:
    fork = "pid = os.fork()\nif not pid:\n    atexit._clear()\n    os._exit(0)\nos.waitpid(pid, 0)\n"
    _, out, _ = run(f"{BEFORE}at_last(lambda: print('end', flush=True))\n{fork}")
    assert out.splitlines().count("end") == 1


def test_handlers_that_are_dropped_are_no_end() -> None:
    again = "at_last(lambda: print('end'))\n"
    _, out, _ = run(f"{BEFORE}{again}atexit._clear()\nprint('goes on')\n{again}")
    assert out.splitlines() == ["goes on", "end", "end"]


def test_handlers_that_the_program_runs_by_itself_are_its_end() -> None:
    _, out, _ = run(f"{BEFORE}at_last(lambda: print('end', flush=True))\natexit._run_exitfuncs()\nos._exit(0)\n")
    assert out.splitlines() == ["registered before", "end"]


ELSEWHERE = "threading.Thread(target=leave, args=(5,), daemon=True).start()\nthreading.Event().wait(30)"


@pytest.mark.parametrize("where", ["leave(5)", ELSEWHERE])
def test_leaving_waits_for_threads_and_runs_handlers_and_flushes(where: str) -> None:
    ending = "threading.Thread(target=lambda: print('thread')).start()\nsys.stdout.write('not flushed;')\n"
    code, out, err = run(f"{BEFORE}{ending}{where}")
    assert (code, err) == (5, "")
    assert "not flushed;" in out
    assert "thread" in out
    assert out.endswith("registered before\n")
