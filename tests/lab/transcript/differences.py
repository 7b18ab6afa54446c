"""What the transcript shows to differ from Docker, each command with its reason.

`test_transcript.py` fails when a line here is no longer true. What differs wherever it is shown,
and is therefore left out by `mask.py`, stands with the others in docs/differences.md: executors
among a node's plugins, the warning about networks' traffic, `EnableIPv4`.
"""

from typing import Final

_ALLOCATED = "a network has its subnet when it is made, so no update follows that allocates it"
_INGRESS = "the ingress network has no endpoint of its own, on managers or on workers"
_EVENTS = "events --since {start} --until {now}"
_SHORT = '--format "{{.Type}} {{.Action}} {{.Actor.Attributes}}"'

EXPECTED: Final[dict[str, str]] = {
    "network inspect ingress": _INGRESS,
    "w: network ls --filter driver=overlay": _INGRESS,
    f"{_EVENTS} --filter scope=swarm {_SHORT}": _ALLOCATED,
    f"{_EVENTS} --filter type=node --filter type=network --filter scope=swarm": _ALLOCATED,
    f"{_EVENTS} --filter network=net --filter scope=swarm": _ALLOCATED,
    "events --filter nonsense=1 --until {now}": "a filter that there isn't is refused, not ignored",
    "swarm init --advertise-addr {m} --external-ca protocol=cfssl,url=https://127.0.0.1:9/sign": (
        "the swarm signs its certificates by itself: external authorities are refused"
    ),
}

LEFT_OUT: Final[dict[str, str]] = {}
