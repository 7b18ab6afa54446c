"""Keys for people: kept in files that are made before anybody is let in."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarmops.errors import InputError
from swarmops.fleet.people import new_secrets


def test_they_are_for_their_owner_alone(tmp_path: Path):
    """Folders are made where they lack."""
    paths = [tmp_path / "certs" / name for name in ("ca.pem", "key.pem")]
    with new_secrets(paths) as write:
        assert all(path.exists() for path in paths)
        write([b"a", b"k"])
    assert [path.read_bytes() for path in paths] == [b"a", b"k"]
    assert [path.stat().st_mode & 0o777 for path in paths] == [0o600, 0o600]


def test_one_that_is_there_is_kept_and_nobody_let_in(tmp_path: Path):
    """Neither is another left behind that was made before."""
    first, second = tmp_path / "ca.pem", tmp_path / "key.pem"
    second.write_text("somebody's")
    with (
        pytest.raises(InputError, match=r"key\.pem is there already: name another"),
        new_secrets([first, second]),
    ):
        pytest.fail("somebody was let in")
    assert second.read_text() == "somebody's"
    assert not first.exists()


def test_where_none_can_be_written_nobody_is_let_in(tmp_path: Path):
    """The reason is the system's."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="file/ada can't be written: File exists"),
        new_secrets([tmp_path / "file" / "ada"]),
    ):
        pytest.fail("somebody was let in")


def test_what_is_written_stays(tmp_path: Path):
    """The swarm has let him in: what fails after that doesn't take his key."""
    path = tmp_path / "key.pem"

    def let_in() -> None:
        with new_secrets([path]) as write:
            write([b"k"])
            raise ConnectionError

    with pytest.raises(ConnectionError):
        let_in()
    assert path.read_bytes() == b"k"


def test_whoever_is_refused_leaves_no_file(tmp_path: Path):
    """A manager may refuse, or not be there."""
    path = tmp_path / "ada.dockercontext"
    with pytest.raises(ConnectionError), new_secrets([path]):
        raise ConnectionError
    assert not path.exists()
