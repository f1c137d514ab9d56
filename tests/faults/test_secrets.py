"""The secret is in no file that a process could leave behind when it is killed."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import pytest

import bndl

pytestmark = [pytest.mark.slow, pytest.mark.timeout(60)]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no files without a name")
def test_driver_and_workers_make_no_file_for_the_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = str(tmp_path / "nowhere")
    monkeypatch.setattr(tempfile, "tempdir", nowhere)
    monkeypatch.setenv("TMPDIR", nowhere)  # so that a file there would be an error, in workers, too
    with bndl.connect(workers=1, progress=False) as ctx:
        assert list(ctx.map(abs, [-1])) == [1]
