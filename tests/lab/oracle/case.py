"""What a scenario works with: one swarm, names of its own, and the few verbs that all share.

A scenario gets one `Case` a side. Whatever it creates is removed when it ends.
"""

import json
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

from tests.lab.oracle.side import Done, Side
from tests.lab.task_image import BUSYBOX
from tests.lab.waiting import wait_for

WITHIN_S = 90.0
LOOK_EVERY_S = 0.3
COMMAND_EVERY_S = 0.6
"""A command is a process, and many scenarios wait at a time."""
T = TypeVar("T")

SLEEP = ("sh", "-c", "trap 'exit 0' TERM; sleep 100000 & wait")
"""Runs until it is told to stop, and then stops at once."""

Task = dict[str, Any]


class Refusal(NamedTuple):
    """What a command that was refused said, and its exit code."""

    rc: int
    said: str


class Case:
    """One scenario on one side."""

    def __init__(self, side: Side, prefix: str) -> None:
        self.side = side
        self.prefix = prefix
        self._services: set[str] = set()
        self._others: list[tuple[str, str]] = []

    # -- names

    def name(self, suffix: str = "") -> str:
        """Return a name that no other scenario uses."""
        return f"{self.prefix}-{suffix}" if suffix else self.prefix

    def node(self, number: int) -> str:
        """Return a node's hostname; 0 is the manager."""
        return self.side.hosts[number].name

    def node_id(self, number: int) -> str:
        """Return a node's ID; 0 is the manager."""
        return self.side.node_ids[self.node(number)]

    # -- the docker CLI

    def docker(self, *words: str, stdin: str = "") -> str:
        """Run the docker CLI and return what it printed; AssertionError if it fails."""
        return self.side.docker(*words, stdin=stdin)

    def run(self, *words: str, stdin: str = "") -> Done:
        """Run the docker CLI, however it ends."""
        return self.side.run(*words, stdin=stdin)

    def refused(self, *words: str, stdin: str = "") -> Refusal:
        """Run a command that must fail; return what it said with this side's names left out."""
        done = self.side.run(*words, stdin=stdin)
        assert done.rc != 0, f"docker {' '.join(words)} was not refused: {done.out}"
        return Refusal(done.rc, done.err)

    def create(
        self,
        *options: str,
        command: Sequence[str] = SLEEP,
        suffix: str = "",
        image: str = BUSYBOX,
    ) -> str:
        """Create a service, not waiting for it; return its name."""
        name = self.name(suffix)
        self._services.add(name)
        words = ("--detach", "--no-resolve-image", "--name", name, *options)
        self.docker("service", "create", *words, image, *command)
        return name

    def create_refused(
        self,
        *options: str,
        command: Sequence[str] = SLEEP,
        suffix: str = "",
        image: str = BUSYBOX,
    ) -> Refusal:
        """Try to create a service that is refused."""
        name = self.name(suffix)
        self._services.add(name)
        words = ("--detach", "--no-resolve-image", "--name", name, *options)
        return self.refused("service", "create", *words, image, *command)

    def update(self, service: str, *options: str) -> None:
        """Update a service, not waiting for it."""
        self.docker("service", "update", "--detach", "--no-resolve-image", *options, service)

    def keep(self, kind: str, name: str) -> str:
        """Have a secret, config or service removed at the end."""
        if kind == "service":
            self._services.add(name)
        else:
            self._others.append((kind, name))
        return name

    def ps(self, service: str, *options: str) -> list[dict[str, str]]:
        """Return the rows of `docker service ps`, newest first in each slot."""
        words = ("--no-trunc", "--format", "{{json .}}", *options, service)
        return [json.loads(line) for line in self.docker("service", "ps", *words).splitlines()]

    def inspect(self, service: str) -> dict[str, Any]:
        """Return what `docker service inspect` says."""
        found: list[dict[str, Any]] = json.loads(self.docker("service", "inspect", service))
        return found[0]

    def logs(self, service: str, *options: str) -> str:
        """Return what `docker service logs` prints, both streams; nothing if it can't yet.

        Both sides refuse while a task is so new that it has no node.
        """
        done = self.run("service", "logs", *options, service)
        if "has not been scheduled" in done.err:
            return ""
        assert done.rc == 0, done.err
        return f"{done.out}\n{done.err}".strip()

    @contextmanager
    def following(self, service: str, *options: str) -> Iterator[Callable[[], list[str]]]:
        """Follow a service's logs for a while; yield what tells the lines heard so far."""
        heard = self.side.at.parent / f"{self.side.kind}-{self.name()}.heard"
        with (
            heard.open("w") as into,
            self.side.begin(
                "service", "logs", "--follow", *options, service, stdout=into
            ) as process,
        ):
            try:
                yield lambda: heard.read_text().splitlines()
            finally:
                process.terminate()

    # -- looking and waiting

    def tasks(self, service: str) -> list[Task]:
        """Return a service's tasks, oldest first; none where there is no such service."""
        query = urllib.parse.quote(json.dumps({"service": [service]}))
        status, listed = self.side.api("GET", f"/tasks?filters={query}")
        if status == 404:
            return []
        assert status == 200, listed
        return sorted(listed, key=lambda task: str(task["CreatedAt"]))

    def service(self, service: str) -> dict[str, Any]:
        """Return a service as the API has it."""
        found: dict[str, Any] = self.side.get(f"/services/{service}")
        return found

    def until(
        self,
        look: Callable[[], T],
        what: str,
        *,
        within_s: float = WITHIN_S,
        every_s: float = LOOK_EVERY_S,
    ) -> T:
        """Return the first true value that a look gives; AssertionError after the bound."""
        return wait_for(look, f"{self.side.kind}: {what}", within_s=within_s, every_s=every_s)

    def printed(self, service: str, count: int) -> list[str]:
        """Return what a service's tasks printed, once it is so many lines."""

        def look() -> list[str]:
            found = self.logs(service, "--raw").splitlines()
            return found if len(found) >= count else []

        return self.until(look, f"{count} lines of logs", every_s=COMMAND_EVERY_S)

    def running(self, service: str, count: int) -> list[Task]:
        """Wait until exactly so many tasks run and none is on its way; return them by slot."""
        last: list[Task] = []

        def look() -> bool:
            last[:] = self.tasks(service)
            wanted = [task for task in last if task["DesiredState"] == "running"]
            states = [state(task) for task in wanted]
            return states == ["running"] * count

        try:
            self.until(look, f"{count} of {service} running")
        except AssertionError as error:
            raise AssertionError(f"{error}: {briefly(last)}") from None
        wanted = [task for task in last if task["DesiredState"] == "running"]
        return sorted(wanted, key=lambda task: task.get("Slot", 0))

    def reach(self, service: str, wanted: str, count: int = 1) -> list[Task]:
        """Wait until at least so many tasks are in a state; return all that are."""
        last: list[Task] = []

        def look() -> list[Task]:
            last[:] = self.tasks(service)
            found = [task for task in last if state(task) == wanted]
            return found if len(found) >= count else []

        try:
            return self.until(look, f"{count} of {service} {wanted}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {briefly(last)}") from None

    def pending(self, service: str, reason: str) -> Task:
        """Wait until a task is pending for a reason, as `docker service ps` shows it."""
        last: list[Task] = []

        def look() -> Task | None:
            last[:] = self.tasks(service)
            for task in last:
                if state(task) == "pending" and task["Status"].get("Err", "") == reason:
                    return task
            return None

        try:
            found = self.until(look, f"{service} pending: {reason}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {briefly(last)}") from None
        assert found is not None
        rows = self.ps(service)
        errors = {row["Error"] for row in rows if row["CurrentState"].startswith("Pending")}
        assert f'"{reason}"' in errors or reason in errors, rows
        return found

    def update_status(self, service: str) -> tuple[str, str]:
        """Return state and message of the last update, empty where there was none."""
        status = self.service(service).get("UpdateStatus") or {}
        return status.get("State", ""), status.get("Message", "")

    def updated(self, service: str, wanted: str) -> str:
        """Wait until an update is in a state; return its message."""
        try:
            self.until(lambda: self.update_status(service)[0] == wanted, f"{service} {wanted}")
        except AssertionError as error:
            now = f"{self.update_status(service)}: {briefly(self.tasks(service))}"
            raise AssertionError(f"{error}: {now}") from None
        return self.update_status(service)[1]

    def by_side(self, *, ours: T, docker: T, because: str) -> T:
        """Return what is expected on this side where the two differ on purpose.

        `because` is the heading of docs/differences.md under which the difference stands.
        """
        assert because, "a difference has a reason"
        return ours if self.side.kind == "ours" else docker

    # -- afterwards

    def clean(self) -> None:
        """Remove what the scenario made."""
        for name in self._services:
            self.side.api("DELETE", f"/services/{name}")
        for kind, name in self._others:
            self._remove(kind, name)

    def _remove(self, kind: str, name: str) -> None:
        """Remove a secret or config; a service that goes away may still use it."""
        wait_for(
            lambda: self.side.api("DELETE", f"/{kind}s/{name}")[0] in {204, 404},
            f"{kind} {name} removed",
            within_s=WITHIN_S,
        )


def state(task: Task) -> str:
    """Return what a task's node last said about it."""
    return str(task["Status"]["State"])


def briefly(tasks: Sequence[Task]) -> str:
    """Return one line about tasks, for an error."""
    return "; ".join(
        f"slot {task.get('Slot', '-')} {state(task)}/{task['DesiredState']} "
        f"{task['Status'].get('Err', '')}".strip()
        for task in tasks
    )
