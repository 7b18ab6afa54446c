"""Host keys: what is known, what is recorded, what is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from swarmops.fleet.known_hosts import KnownHosts, host_id, judge, parse

KEY, OTHER = b"\0\0\0\x0bssh-ed25519 one", b"\0\0\0\x0bssh-ed25519 two"


def line(names: str, blob: bytes = KEY, marker: str = "") -> str:
    """Return one line of a known_hosts file."""
    return f"{marker}{names} ssh-ed25519 {base64.b64encode(blob).decode()} comment\n"


def hashed(name: str) -> str:
    """Return a name as ``ssh-keygen -H`` writes it."""
    salt = b"0123456789abcdef0123"
    digest = hmac.digest(salt, name.encode(), hashlib.sha1)
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


@pytest.mark.parametrize(
    ("text", "name", "state"),
    [
        (line("h1,10.0.0.1"), "10.0.0.1", "known"),
        (line("H1"), "h1", "known"),
        (line("h1"), "H1", "known"),
        (line("h1", OTHER), "H1", "changed"),
        (line(hashed("h1"), OTHER), "H1", "changed"),
        (line("h1", OTHER), "h1", "changed"),
        (line("h2"), "h1", "unknown"),
        (line("*.example.com,!bad.example.com"), "web.example.com", "known"),
        (line("*.example.com,!bad.example.com"), "bad.example.com", "unknown"),
        (line("[10.0.0.1]:2222"), "[10.0.0.1]:2222", "known"),
        (line("[10.0.0.1]:2222"), "10.0.0.1", "unknown"),
        (line(hashed("10.0.0.1")), "10.0.0.1", "known"),
        (line(hashed("10.0.0.1"), OTHER), "10.0.0.1", "changed"),
        (line("h1", marker="@revoked "), "h1", "revoked"),
        (line("h1") + line("h1", marker="@revoked "), "h1", "revoked"),
        (line("h1", OTHER, marker="@revoked "), "h1", "unknown"),
        (line("*", marker="@cert-authority "), "h1", "unknown"),
        ("# " + line("h1"), "h1", "unknown"),
        ("h1 ssh-ed25519 not-base64!\n\nh1\n", "h1", "unknown"),
        (line("h1", OTHER) + line("h1"), "h1", "known"),
    ],
)
def test_a_key_is_judged_by_the_lines_of_its_host(text: str, name: str, state: str) -> None:
    """A key is judged as OpenSSH judges it: names, patterns, ports, hashes and revocations."""
    entries = [entry for entry in parse(text, "file") if entry.matches(name)]
    assert judge(entries, KEY).state == state


def test_a_changed_key_is_refused_with_file_and_line() -> None:
    """Whoever has to remove the line is told where it is."""
    verdict = judge(parse("# a comment\n" + line("h1", OTHER), "/etc/known"), KEY)
    assert verdict.entry is not None
    assert (verdict.entry.path, verdict.entry.line) == ("/etc/known", 2)


@pytest.mark.parametrize(
    ("address", "port", "name"),
    [("Host1", 22, "host1"), ("10.0.0.1", 2222, "[10.0.0.1]:2222"), ("::1", 22, "::1")],
)
def test_a_port_other_than_22_is_part_of_the_name(address: str, port: int, name: str) -> None:
    """The names are those that OpenSSH writes."""
    assert host_id(address, port) == name


def test_hosts_recorded_at_once_are_all_there_afterwards(tmp_path: Path) -> None:
    """Many threads, and two runs at a time, lose no line and tear none."""
    own = tmp_path / "state" / "known_hosts"
    runs = [KnownHosts(own, others=()), KnownHosts(own, others=())]

    def record(number: int) -> str:
        return runs[number % 2].record(f"h{number}", "ssh-ed25519", KEY).state

    with ThreadPoolExecutor(16) as pool:
        states = list(pool.map(record, range(60)))
    assert states == ["unknown"] * 60
    assert {entry.patterns for entry in parse(own.read_text(), "")} == {f"h{n}" for n in range(60)}
    assert {path.name for path in own.parent.iterdir()} == {"known_hosts", "known_hosts.lock"}


def test_another_run_that_recorded_another_key_meanwhile_is_believed(tmp_path: Path) -> None:
    """The first key that was recorded counts, also if it was a moment ago by another run."""
    own = tmp_path / "known_hosts"
    late = KnownHosts(own, others=())
    KnownHosts(own, others=()).record("h1", "ssh-ed25519", OTHER)
    assert late.record("h1", "ssh-ed25519", KEY).state == "changed"
    assert len(parse(own.read_text(), "")) == 1


def test_the_users_own_files_are_never_written(tmp_path: Path) -> None:
    """Recording touches swarmops' file only."""
    users = tmp_path / "users"
    users.write_text(line("h1"))
    known = KnownHosts(tmp_path / "own", others=(users, tmp_path / "absent"))
    known.record("h2", "ssh-ed25519", KEY)
    assert users.read_text() == line("h1")
    assert [entry.path for entry in known.entries("h1")] == [str(users)]
