"""Our side of forming: `swarmops apply` from six bare lab hosts to a swarm with one service.

`python -m bench.swarmops_apply`. The same end as `ansible/swarm.yml`: three managers, three
workers, a service of four replicas; but the hosts have neither the runtime nor anything else that
it needs, and bringing it is in the time.
"""

import tempfile
from pathlib import Path

from bench.measuring import in_lab
from bench.operator import Operator
from bench.scenarios import HOSTS, MANAGERS
from bench.spending import Spending
from tests.lab.lab import Lab

PLAYBOOK = {
    "swarm": {"name": "bench", "managers": MANAGERS},
    "services": {
        "web": {
            "image": "host",
            "command": ["sleep", "1000000"],
            "stop_grace_period": "2s",
            "deploy": {"replicas": 4},
        }
    },
}


def measure_apply(lab: Lab) -> dict[str, float]:
    """Return the seconds of applies to bare hosts and of one with nothing to do, and their cost.

    `built_s` is an operator's very first, in which the bundle is built; `first_s` any later one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        operator = Operator(Path(scratch))
        built = _twice(lab, operator)
        return {"built_s": built["first_s"], **_twice(lab, operator)}


def _twice(lab: Lab, operator: Operator) -> dict[str, float]:
    """Apply to bare hosts, which waits until the service runs, and once more."""
    with lab.claim(HOSTS, engine=False) as hosts:
        operator.meet(hosts, PLAYBOOK)
        spending = Spending(hosts)
        first_s, _ = operator.apply()
        first_cpu_s = spending.spent_s()
        spending = Spending(hosts)
        again_s, said = operator.apply()
        again_cpu_s = spending.spent_s()
    if "Nothing needs doing" not in said:
        raise RuntimeError(f"the second apply did something:\n{said}")
    return {
        "first_s": first_s,
        "first_cpu_s": first_cpu_s,
        "again_s": again_s,
        "again_cpu_s": again_cpu_s,
    }


if __name__ == "__main__":
    in_lab("swarmops apply", measure_apply)
