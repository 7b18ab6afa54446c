"""Whatever is sent to a real manager's API, it answers, stays small and goes on leading.

Requests are made from ``/openapi.json`` by schemathesis, and sent over TLS as an admin.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

from tests.local.addresses import node_address
from tests.local.conftest import wait_for

PORT = 2376
PASSES = 3
EXAMPLES = 5
"""Of each operation in each pass; every pass draws others."""
ANSWER_S = 40
"""Handlers have 30 s, and joining 40: none of these requests should need a tenth of a second."""
GROWTH_BYTES_MAX = 3 * 1024 * 1024
"""From pass to pass, once the first has loaded what is loaded with its first use."""
HARMLESS = {"until": "1", "follow": "0"}
"""Streams that would never end are asked for what was."""
LEFT_OUT = {
    ("POST", "/swarm/leave"),  # after which there is nothing to ask any more
    ("POST", "/access/update"),  # this closes the port
}
LINES = "/events"
"""Answers with an object a line: no one value to hold against a schema."""


class Manager:
    """A swarm of one, whose API is on the network."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "node.sock"
        address = node_address(1)
        command = [sys.executable, "-m", "swarmops.runtime", "--hostname=fuzzed"]
        command.append("--docker-socket=/nonexistent")
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [*command, f"--data-dir={folder / 'data'}", f"--socket={self.socket}"],
                stdout=log,
                stderr=log,
            )
        wait_for(self.socket.exists, "the socket")
        self._run("docker", "-H", f"unix://{self.socket}", "swarm", "init")
        self.swarmops("access", "enable")
        self.swarmops("access", "create", "fuzz", "--role=admin", f"--pem={folder / 'pem'}")
        self.session = requests.Session()
        self.session.trust_env = False  # the machine's own authorities are not asked
        self.session.cert = (str(folder / "pem/cert.pem"), str(folder / "pem/key.pem"))
        self.session.verify = str(folder / "pem/ca.pem")
        self.url = f"https://{address}:{PORT}"
        wait_for(lambda: self._listens(address), "the port")  # each manager opens it by itself

    @staticmethod
    def _listens(address: str) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((address, PORT)) == 0

    def swarmops(self, *words: str) -> None:
        """Run the command on this node."""
        self._run(sys.executable, "-m", "swarmops", *words)

    def _run(self, *words: str) -> None:
        if words[-1] == "init":
            listen = f"{node_address(1)}:2377"
            words = (*words, f"--listen-addr={listen}", f"--advertise-addr={listen}")
        environment = os.environ | {
            "SWARMOPS_SOCKET": str(self.socket),
            "HOME": str(self.folder),
            "XDG_STATE_HOME": str(self.folder),
        }
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def memory_bytes(self) -> int:
        """How much memory the process holds."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        assert found
        return int(found.group(1)) * 1024

    def leads_in_term(self) -> float:
        """Return the term in which it leads, 0 if it doesn't."""
        text = self.session.get(f"{self.url}/metrics", timeout=ANSWER_S).text
        found = re.search(r"(?m)^swarmops_raft_term (\S+)$", text)
        assert found
        return float(found.group(1)) if "swarmops_raft_leader 1.0" in text else 0.0

    def clear(self) -> None:
        """Remove what was made, so that only what is kept by mistake is left of it."""
        for kind in ("services", "secrets", "configs", "networks"):
            for one in self.session.get(f"{self.url}/{kind}", timeout=ANSWER_S).json():
                if one.get("Name") != "ingress":
                    self.session.delete(
                        f"{self.url}/{kind}/{one.get('ID') or one['Id']}", timeout=ANSWER_S
                    )

    def close(self) -> None:
        """End it."""
        self.session.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        shutil.rmtree(self.folder)


@pytest.fixture(scope="module")
def manager() -> Iterator[Manager]:
    """Serve one."""
    made = Manager(Path(tempfile.mkdtemp(prefix="swarmops-")))
    wait_for(lambda: Path(made.folder / "pem").exists(), "the certificate")
    yield made
    made.close()


def refused_in_words(answer: requests.Response) -> bool:
    """Whether an answer is one that a handler meant, and no error that nobody foresaw."""
    if answer.status_code != 500:
        return answer.status_code < 500 or answer.status_code in (501, 503)
    return not json.loads(answer.text)["message"].startswith("internal error")


def test_times_that_nobody_has_lived_are_taken_or_refused(manager: Manager):
    """Of logs that a node is asked for, and of events: each answer is meant, and ends."""
    container = {"Image": "host", "Args": ["sleep", "1000"]}
    spec = {"Name": "talks", "TaskTemplate": {"ContainerSpec": container}}
    manager.session.post(f"{manager.url}/services/create", json=spec, timeout=ANSWER_S)

    def runs() -> bool:
        tasks = manager.session.get(f"{manager.url}/tasks", timeout=ANSWER_S).json()
        return "running" in [task["Status"]["State"] for task in tasks]

    wait_for(runs, "its task")
    times = ("9" * 20, "99999999999", "1.0000000001", "0001-01-01", "-1")
    for path, bound, time in product(
        ("/services/talks/logs", "/events"), ("since", "until"), times
    ):
        if (path, bound, time) != ("/events", "until", "99999999999"):  # that is to be waited for
            asked = {"stdout": "1", "until": "1", bound: time}
            answer = manager.session.get(f"{manager.url}{path}", params=asked, timeout=ANSWER_S)
            assert refused_in_words(answer), (answer.url, answer.text)
    manager.session.delete(f"{manager.url}/services/talks", timeout=ANSWER_S)


def test_nothing_that_the_description_allows_or_forbids_breaks_it(manager: Manager):
    """No error without words, no hang, no answer but as described, no growth; it leads on."""
    raw = manager.session.get(f"{manager.url}/openapi.json", timeout=ANSWER_S).json()
    raw["servers"] = [{"url": "/"}]
    schema = schemathesis.openapi.from_dict(raw)
    results: Any = schema.get_all_operations()
    described = [result.ok() for result in results]
    operations = [one for one in described if (one.method.upper(), one.path) not in LEFT_OUT]
    assert len(operations) == len(described) - len(LEFT_OUT) > 40
    term = manager.leads_in_term()
    memory: list[int] = []
    for number in range(PASSES):
        for operation in operations:
            send(manager, operation, number)
        manager.clear()
        memory.append(manager.memory_bytes())
    assert memory[-1] - memory[-2] < GROWTH_BYTES_MAX, memory
    assert manager.leads_in_term() == term > 0


def send(manager: Manager, operation: Any, number: int) -> None:
    """Send an operation's draws of one pass; each is answered, and as it is described."""

    @seed(number)
    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy())
    def draw(case: Any) -> None:
        if case.path.endswith(("/events", "/logs")):
            case.query = {**(case.query or {}), **HARMLESS}
        answer = case.call(
            base_url=manager.url,
            session=manager.session,
            timeout=ANSWER_S,
            cert=manager.session.cert,
            verify=manager.session.verify,
        )
        assert refused_in_words(answer), (case.as_curl_command(), answer.text)
        if case.path != LINES:
            case.validate_response(
                answer, checks=[content_type_conformance, response_schema_conformance]
            )

    draw()


@settings(max_examples=60, deadline=None, database=None)
@given(
    st.sampled_from(["GET", "POST", "PUT", "DELETE", "HEAD", "x"]),
    st.binary(max_size=60),
    st.binary(max_size=200),
)
def test_bytes_that_are_no_http_are_answered_or_hung_up_on(
    manager: Manager, method: str, path: bytes, rest: bytes
):
    """Nobody waits for an answer that never comes."""
    import socket

    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(ANSWER_S)
        client.connect(str(manager.socket))
        client.sendall(method.encode() + b" /" + path + b" HTTP/1.1\r\n" + rest + b"\r\n\r\n")
        client.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while piece := client.recv(65536):
                answer += piece
        except ConnectionError:
            pass
    assert b" 500 " not in answer.partition(b"\r\n")[0]
    assert b"internal error" not in answer


def test_it_still_works(manager: Manager):
    """A service is made, listed and removed."""
    spec = {"Name": "after", "TaskTemplate": {"ContainerSpec": {"Image": "host", "Args": ["true"]}}}
    spec["Mode"] = {"Replicated": {"Replicas": 0}}
    made = manager.session.post(f"{manager.url}/services/create", json=spec, timeout=ANSWER_S)
    assert made.status_code == 201, made.text
    listed = manager.session.get(f"{manager.url}/services", timeout=ANSWER_S).json()
    assert "after" in [one["Spec"]["Name"] for one in listed]
    assert manager.leads_in_term() > 0
