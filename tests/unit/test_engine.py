"""What all engines have in common: credentials that are on no disk."""

from __future__ import annotations

import pickle
import tempfile
from pathlib import Path

import pytest

from bndl.cli.main import app
from bndl.config import Config
from bndl.deploy.engine import Engine
from bndl.deploy.joining import Joining
from bndl.net.credentials import find_credentials


class Somewhere(Engine):
    """An engine that only notes what it is to launch."""

    def __init__(self) -> None:
        super().__init__(2)
        self.launched: list[Joining] = []

    def find_address(self, *, is_safe: bool) -> str:
        assert is_safe
        return "127.0.0.1"

    def launch(self, joining: Joining) -> None:
        self.launched.append(joining)

    def end(self) -> None:
        self.launched.clear()


@pytest.mark.parametrize("named", [False, True])
def test_credentials_reach_a_machine_without_being_written_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    app(["cluster", "init", str(tmp_path / "made")], standalone_mode=False)
    config = Config(credentials=str(tmp_path / "made" / "node")) if named else Config()
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
    engine = Somewhere()
    settings, credentials = engine.prepare(config)
    engine.start("cluster", ("tls/127.0.0.1:5000",))
    assert settings.listen == ("tls/127.0.0.1:0",)
    assert not named or credentials == find_credentials(config)
    (joining,) = engine.launched
    assert pickle.loads(pickle.dumps(joining)).credentials == credentials
    assert "PRIVATE KEY" in joining.credentials.key
    assert "PRIVATE KEY" not in repr(joining)
    assert list((tmp_path / "disk").iterdir()) == []
