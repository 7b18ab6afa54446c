"""A lab: N real hosts on one bridge. Brought up, claimed, reset and taken down here.

`make lab-up`, the fixtures in conftest.py and the benchmarks call it. What is up is written to
`lab.json` in the lab's scratch folder, so that another process finds and shares the same hosts.
"""

import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec

from tests.lab import engine, hosts
from tests.lab.cache import cache_dir, default_lab_name, lab_dir, locked
from tests.lab.engine import LabError, docker, say
from tests.lab.hosts import LABEL, Host
from tests.lab.image import ensure_image
from tests.lab.inventory import inventory_text
from tests.lab.network import address_of, ensure_network

CHANGE_WITHIN_S = 600.0
CLAIM_WITHIN_S = 1800.0


class Timings(msgspec.Struct, frozen=True):
    """How long bringing a lab up took, in seconds; 0 where nothing had to be done."""

    build_s: float
    daemon_s: float
    start_s: float


class _State(msgspec.Struct, frozen=True):
    """What `lab.json` holds."""

    name: str
    image: str
    subnet: str
    hosts: list[Host]


class Lab:
    """A running lab. Get one from `up` or `running`; hosts by name with `lab["host1"]`."""

    def __init__(self, state: _State) -> None:
        self._state = state
        self._claimed = False
        self.directory = lab_dir(state.name)

    @property
    def name(self) -> str:
        """The lab's name."""
        return self._state.name

    @property
    def image(self) -> str:
        """What its hosts are made from."""
        return self._state.image

    @property
    def hosts(self) -> tuple[Host, ...]:
        """The hosts in order: host1, host2 and so on."""
        return tuple(self._state.hosts)

    @property
    def key(self) -> Path:
        """The private key that opens every account on every host."""
        return self.directory / "id_ed25519"

    @property
    def inventory(self) -> Path:
        """An Ansible inventory of all hosts, as root, three of them managers."""
        return self.directory / "inventory.yml"

    def __getitem__(self, name: str) -> Host:
        return next(host for host in self.hosts if host.name == name)

    @contextmanager
    def claim(
        self, count: int | None = None, *, engine: bool | Sequence[bool] = True
    ) -> Iterator[tuple[Host, ...]]:
        """Hold the lab for this process and yield its first `count` hosts, all of them bare.

        Hosts that an earlier claim used are made anew (about 2 s for six), missing ones are
        added. `engine` says of all hosts, or of each, whether Docker runs there from the start.
        """
        if self._claimed:
            raise LabError(f"lab {self.name} is claimed already by this process: claim once")
        with held(self.name, within_s=CLAIM_WITHIN_S):
            self._state = _load(self.name) or self._state
            count = len(self.hosts) if count is None else count
            flags = [engine] * count if isinstance(engine, bool) else list(engine)
            if len(flags) != count:
                raise LabError(f"{len(flags)} engine flags for {count} hosts")
            if count > len(self.hosts):
                self._state = up(self.name, count)[0]._state
            self._make_bare(flags)
            self._dirty_file.write_text("\n".join(host.name for host in self.hosts[:count]))
            self._claimed = True
            try:
                yield self.hosts[:count]
            finally:
                self._claimed = False

    def reset(self) -> float:
        """Make every host anew; return the seconds it took."""
        started = time.monotonic()
        self._recreate(self.hosts)
        return time.monotonic() - started

    def wipe(self, *wiped: Host) -> None:
        """Replace hosts by fresh ones of the same name and address, as a reinstallation does."""
        self._recreate(wiped)

    @property
    def _dirty_file(self) -> Path:
        return self.directory / "dirty"

    def _make_bare(self, flags: Sequence[bool]) -> None:
        """Recreate the hosts that were used, died, or whose Docker should be otherwise."""
        dirty = self._dirty_file.read_text().split() if self._dirty_file.exists() else []
        alive = _running_containers(self.name)
        wanted = [
            msgspec.structs.replace(host, engine=flag)
            for host, flag in zip(self.hosts, flags, strict=False)
        ] + list(self.hosts[len(flags) :])
        changed = [
            new
            for new, old in zip(wanted, self.hosts, strict=True)
            if new != old or new.name in dirty or new.container not in alive
        ]
        self._state = msgspec.structs.replace(self._state, hosts=wanted)
        self._recreate(changed)
        self._dirty_file.unlink(missing_ok=True)
        _save(self._state)

    def _recreate(self, changed: Iterable[Host]) -> None:
        """Remove and start hosts, all at once, and wait until they are up."""

        def anew(host: Host) -> None:
            hosts.remove(host)
            hosts.create(host, image=self._state.image)
            hosts.wait_ready(host)

        _all_at_once(anew, changed)


@contextmanager
def held(name: str, *, within_s: float) -> Iterator[None]:
    """Keep others from claiming a lab; TimeoutError if one has it for too long."""
    with locked(cache_dir() / f"claim-{name}.lock", within_s=within_s, what=f"lab {name}"):
        yield


def running(name: str | None = None) -> Lab | None:
    """Return a lab that is up, None if it isn't."""
    name = name or default_lab_name()
    state = _load(name)
    if state is None or not engine.answers():
        return None
    alive = _running_containers(name)
    return Lab(state) if any(host.container in alive for host in state.hosts) else None


def up(
    name: str | None = None, count: int = 6, *, without_engine: Sequence[str] | None = None
) -> tuple[Lab, Timings]:
    """Bring a lab to `count` running hosts; what is there already is kept as it is.

    `without_engine` names the hosts whose Docker stays off; None leaves that as it was, which
    for a new host means on.
    """
    name = name or default_lab_name()
    with _changing():
        started = time.monotonic()
        engine.start()
        daemon_s = time.monotonic() - started
        image, build_s = ensure_image()
        started = time.monotonic()
        directory = lab_dir(name)
        directory.mkdir(parents=True, exist_ok=True)
        key = _ensure_key(directory)
        subnet = ensure_network(name)
        known = _load(name)
        engines = {host.name: host.engine for host in known.hosts} if known else {}
        if without_engine is not None:
            engines = dict.fromkeys(without_engine, False)
        wanted = [
            Host(
                name=f"host{number}",
                address=address_of(subnet, number),
                container=f"swarmops-{name}-host{number}",
                engine=engines.get(f"host{number}", True),
                key=str(key),
                lab=name,
            )
            for number in range(1, count + 1)
        ]
        _start_missing(wanted, image)
        state = _State(name=name, image=image, subnet=str(subnet), hosts=wanted)
        _save(state)
        return Lab(state), Timings(build_s, daemon_s, time.monotonic() - started)


def down(name: str | None = None) -> bool:
    """Remove a lab with all it left; the last one stops the daemon. False if none was up."""
    name = name or default_lab_name()
    with _changing():
        was_up = _load(name) is not None
        if engine.answers():
            label = f"label={LABEL}={name}"
            if containers := docker("ps", "--all", "--quiet", "--filter", label).split():
                docker("rm", "--force", "--volumes", *containers)
            for network in docker("network", "ls", "--quiet", "--filter", label).split():
                _remove_network(network)
            if not docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}"):
                engine.stop()
        shutil.rmtree(lab_dir(name), ignore_errors=True)
        return was_up


def _remove_network(network: str) -> None:
    """Remove it, also where a start that was killed left an end of it that no container has.

    Docker Engine forgets such ends only when it is started anew.
    """
    try:
        docker("network", "rm", network)
    except LabError:
        if docker("ps", "--all", "--quiet", "--filter", f"label={LABEL}"):
            raise
        engine.stop()
        engine.start()
        docker("network", "rm", network)


def _start_missing(wanted: Sequence[Host], image: str) -> None:
    """Start the hosts that don't run and remove those that aren't wanted."""
    name = wanted[0].lab
    alive = _running_containers(name)
    known = _load(name)
    kept = set(known.hosts) if known and known.image == image else set()
    surplus = set(alive) - {host.container for host in wanted}
    if surplus:
        docker("rm", "--force", "--volumes", *surplus)

    def start(host: Host) -> None:
        hosts.remove(host)
        hosts.create(host, image=image)
        hosts.wait_ready(host)

    missing = [host for host in wanted if host.container not in alive or host not in kept]
    if missing:
        say(f"starting {len(missing)} hosts")
    _all_at_once(start, missing)


def _running_containers(name: str) -> list[str]:
    """Return the names of a lab's running containers."""
    label = f"label={LABEL}={name}"
    return docker("ps", "--filter", label, "--format", "{{.Names}}").split()


def _ensure_key(directory: Path) -> Path:
    """Make the lab's key pair if it has none."""
    key = directory / "id_ed25519"
    if not key.exists():
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab", "-f", str(key)],
            check=True,
        )
    return key


def _save(state: _State) -> None:
    """Write lab.json and the inventory."""
    directory = lab_dir(state.name)
    (directory / "inventory.yml").write_text(inventory_text(state.hosts))
    (directory / "lab.json").write_bytes(msgspec.json.format(msgspec.json.encode(state)))


def _load(name: str) -> _State | None:
    """Return what lab.json says, None without one."""
    try:
        text = (lab_dir(name) / "lab.json").read_bytes()
        return msgspec.json.decode(text, type=_State)
    except (FileNotFoundError, msgspec.ValidationError):
        return None


@contextmanager
def _changing() -> Iterator[None]:
    """Let one process at a time start and stop daemons, images and labs."""
    with locked(cache_dir() / "lock", within_s=CHANGE_WITHIN_S, what="the lab's cache"):
        yield


def _all_at_once(action: Callable[[Host], object], chosen: Iterable[Host]) -> None:
    """Do something to many hosts in parallel; the first error is raised after all have ended."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        for future in [pool.submit(action, host) for host in chosen]:
            future.result()
