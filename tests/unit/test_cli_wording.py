"""What a command says about options is in the words of the command line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bndl.cli.wording import in_options
from bndl.errors import InvalidOption, InvalidSetting, NoWorkers


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("workers must be at most 10,000, got 5.", "--workers must be at most 10,000, got 5."),
        ("seeds[0] must be valid Unicode", "--seeds[0] must be valid Unicode"),
        ("give secret_file=, the file", "give --secret-file, the file"),
        ("give credentials= (--credentials), a folder", "give --credentials, a folder"),
        ("allow it with insecure_plaintext=True (--insecure-plaintext).", "allow it with --insecure-plaintext."),
        ("bndl.connect(workers=...) starts some", "bndl.connect(workers=...) starts some"),
        ("the workers must agree", "the workers must agree"),
    ],
)
def test_options_are_named_as_they_are_given(text: str, said: str) -> None:
    assert in_options(InvalidOption(text)) == said


def test_other_errors_are_left_as_they_are() -> None:
    text = "workers must be started with secret_file="
    assert in_options(NoWorkers(text)) == text
    assert in_options(InvalidSetting(text, where="BNDL_WORKERS")) == text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "--workers", "100000"), "--workers must be at most 10,000, got 100000"),
        (("shell", "--concurrency", "100000"), "--concurrency must be at most 10,000, got 100000"),
        (("worker", "--cluster", "a/b"), "'a/b' cannot name a cluster"),
        (("worker", "--seeds", "tcp/127.0.0.1:1"), "give --secret-file"),
        (("worker", "--listen", "tcp/0.0.0.0:0"), "give --secret-file or --credentials"),
        (("router", "--listen", "tcp/0.0.0.0:0", "--secret-file", "SECRET"), "--insecure-plaintext."),
        (("worker", "--no-mesh", "--secret-file", "SECRET"), "give its address with --seeds"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_commands_name_their_options(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    secret = tmp_path / "SECRET"
    secret.write_text("0123456789abcdef0123456789abcdef\n")
    secret.chmod(0o600)
    (tmp_path / "script.py").write_text("print(ctx.worker_count)\n")
    script = ["script.py"] if arguments[0] == "run" else []
    command = [sys.executable, "-c", "from bndl.cli.main import main; main()", *arguments, *script]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, cwd=tmp_path)
    assert done.returncode in {1, 2}
    assert said in done.stderr
    assert "secret_file" not in done.stderr
    assert "Traceback" not in done.stderr
