"""`python -m tests.lab up|down|reset|ssh`: the lab from the command line, for `make lab-up`."""

import argparse
import subprocess
import sys

from tests.lab import lab
from tests.lab.cache import default_lab_name
from tests.lab.engine import LabError
from tests.lab.prerequisites import missing
from tests.lab.ssh import ssh_argv

# How long a change waits for a test run that uses the lab.
HELD_WITHIN_S = 60.0


def main() -> int:
    """Run one command; 1 with one sentence on standard error if it fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    parser.add_argument("--name", default=default_lab_name(), help="which lab (LAB_NAME)")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="bring hosts up and say how long it took")
    up.add_argument("count", type=int, nargs="?", default=6)
    up.add_argument("--without-engine", help="hosts with Docker off: host4,host5")
    commands.add_parser("down", help="remove the lab; leaves nothing running")
    commands.add_parser("reset", help="make every host anew")
    shell = commands.add_parser("ssh", help="log in to a host, or run a command there")
    shell.add_argument("host")
    shell.add_argument("words", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    try:
        return _run(args)
    except (LabError, TimeoutError) as error:
        sys.stderr.write(f"lab: {error}\n")
        return 1


def _run(args: argparse.Namespace) -> int:
    """Do what the command line says."""
    if reason := missing():
        raise LabError(reason)
    if args.command == "ssh":
        host = _running(args.name)[args.host]
        return subprocess.run(ssh_argv(host, *args.words), check=False).returncode
    with lab.held(args.name, within_s=HELD_WITHIN_S):
        if args.command == "down":
            _say("lab is down" if lab.down(args.name) else "no lab was up")
        elif args.command == "up":
            _report(*lab.up(args.name, args.count, without_engine=_names(args.without_engine)))
        else:
            running = _running(args.name)
            _say(f"reset of {len(running.hosts)} hosts  {running.reset():6.1f} s")
    return 0


def _running(name: str) -> lab.Lab:
    """Return a lab that is up; LabError if it isn't."""
    running = lab.running(name)
    if running is None:
        raise LabError(f"no lab {name} is up; make lab-up starts one")
    return running


def _names(text: str | None) -> list[str] | None:
    """Return the names in a comma-separated list, None where none was given."""
    return None if text is None else [name for name in text.split(",") if name]


def _say(line: str) -> None:
    """Write a line of result."""
    sys.stdout.write(f"{line}\n")


def _report(up: lab.Lab, timings: lab.Timings) -> None:
    """Print where the lab is and what its parts took."""
    _say(f"image build       {timings.build_s:6.1f} s")
    _say(f"daemon start      {timings.daemon_s:6.1f} s")
    _say(f"start of {len(up.hosts)} hosts  {timings.start_s:6.1f} s")
    for host in up.hosts:
        _say(f"{host.name}  {host.address}  Docker {'on' if host.engine else 'off'}")
    _say(f"inventory  {up.inventory}")


if __name__ == "__main__":
    sys.exit(main())
