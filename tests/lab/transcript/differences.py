"""What the transcript shows to differ from Docker, each command with its reason and the difference.

`test_transcript.py` fails when a line here is no longer true, and when a command prints anything
else than Docker's output with this one difference. What differs wherever it is shown, and is
therefore left out by `mask.py`, stands with the others in docs/differences.md: executors among a
node's plugins, the warning about networks' traffic, `EnableIPv4`.
"""

import json
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from tests.lab.transcript.mask import masked
from tests.lab.transcript.play import Printed


class Difference(NamedTuple):
    """Why a command prints something else here, and what, by what Docker printed."""

    reason: str
    here: Callable[[Printed], Printed]


def _without(pattern: str) -> Callable[[Printed], Printed]:
    """Return what leaves out the lines that match."""

    def here(dockers: Printed) -> Printed:
        kept = [line for line in dockers.out.splitlines() if not re.fullmatch(pattern, line)]
        return dockers._replace(out="\n".join(kept))

    return here


def _refused(why: str, *, instead: str = "") -> Callable[[Printed], Printed]:
    """Return what refuses a command that Docker carries out, or refuses for another reason."""

    def here(dockers: Printed) -> Printed:
        assert instead in dockers.err if instead else dockers.rc == 0
        return Printed(1, "", f"Error response from daemon: {why}")

    return here


def _without_endpoint(dockers: Printed) -> Printed:
    """Leave out the ingress network's endpoint, and the nodes that have one."""
    (network,) = json.loads(dockers.out)
    network.pop("Peers", None)  # known to each other a while after they joined
    changed = [network | {"Containers": None, "Labels": None}]
    words = ("network", "inspect", "ingress")
    return dockers._replace(out=masked(words, json.dumps(changed), {}))


_EXTERNAL = "--external-ca protocol=cfssl,url=https://127.0.0.1:9/sign"
_OWN = "the swarm signs its certificates by itself: external authorities are refused"
_UNIMPLEMENTED = (
    "rpc error: code = Unimplemented desc = external certificate authorities are not supported: "
    "the swarm signs by itself"
)
_UNREACHABLE = "there must be at least one valid, reachable external CA"
_ALLOCATED = "a network has its subnet when it is made, so no update follows that allocates it"
_INGRESS = "the ingress network has no endpoint of its own, on managers or on workers"
_EVENTS = "events --since {start} --until {now}"
_SHORT = '--format "{{.Type}} {{.Action}} {{.Actor.Attributes}}"'
_UPDATE = Difference(_ALLOCATED, _without(r"(?:<time> )?network update .*name[=:]net.*"))

EXPECTED: Final[dict[str, Difference]] = {
    "network inspect ingress": Difference(_INGRESS, _without_endpoint),
    "w: network ls --filter driver=overlay": Difference(
        _INGRESS, _without("<id>  ingress  overlay  swarm")
    ),
    f"{_EVENTS} --filter scope=swarm {_SHORT}": _UPDATE,
    f"{_EVENTS} --filter type=node --filter type=network --filter scope=swarm": _UPDATE,
    f"{_EVENTS} --filter network=net --filter scope=swarm": _UPDATE,
    "events --filter nonsense=1 --until {now}": Difference(
        "a filter that there isn't is refused, not ignored", _refused("Invalid filter 'nonsense'")
    ),
    f"swarm init --advertise-addr {{m}} {_EXTERNAL}": Difference(_OWN, _refused(_UNIMPLEMENTED)),
    f"swarm update {_EXTERNAL}": Difference(_OWN, _refused(_UNIMPLEMENTED)),
    f"swarm ca --rotate --detach --ca-cert {{pki}}/cert.pem {_EXTERNAL}": Difference(
        _OWN, _refused(_UNIMPLEMENTED, instead=_UNREACHABLE)
    ),
}

LEFT_OUT: Final[dict[str, str]] = {}

_NO_CONTAINER = "No such container: nothing"
REFUSED: Final[dict[str, str]] = {
    "network connect --alias": _NO_CONTAINER,
    "network connect --driver-opt": _NO_CONTAINER,
    "network connect --gw-priority": _NO_CONTAINER,
    "network connect --ip": _NO_CONTAINER,
    "network connect --ip6": _NO_CONTAINER,
    "network connect --link": _NO_CONTAINER,
    "network connect --link-local-ip": _NO_CONTAINER,
    "network create --config-from": 'configuration network "nothing" does not exist',
    "network create --ingress": "is already present",
    "network disconnect --force": "network net1 not found",
    "secret create --driver": "When using secret driver secret data must be empty",
    "service create --health-start-interval": "requires API version 1.44",
    "service create --oom-score-adj": "requires API version 1.46",
    "service update --health-start-interval": "requires API version 1.44",
    "service update --oom-score-adj": "requires API version 1.46",
    "swarm ca --external-ca": _UNREACHABLE,
}
"""The flags with which no line of the script does anything on Docker's side, and what it is told.

Containers are the engine's own, and the newest API that Debian's engine knows is 1.41.
"""
