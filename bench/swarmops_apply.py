"""Our side of forming: `swarmops apply` from six bare lab hosts to a swarm with one service.

`python -m bench.swarmops_apply [native|docker]`. The same end as `ansible/swarm.yml`: three
managers, three workers, a service of four replicas. With the native backend the hosts have neither
the runtime nor anything else that it needs, and bringing it is in the time. With the docker backend
they have what Ansible finds there: Docker Engine, and the image.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.measuring import in_lab
from bench.operator import Operator
from bench.scenarios import HOSTS, MANAGERS
from bench.spending import Spending
from tests.lab.hosts import Host
from tests.lab.lab import Lab
from tests.lab.task_image import BUSYBOX, import_busybox

REPLICAS = 4


def playbook(backend: str) -> dict[str, object]:
    """Return the playbook: a plain process on the native backend, a container on Docker's."""
    service = {
        "image": "host" if backend == "native" else BUSYBOX,
        "command": ["sleep", "1000000"],
        "stop_grace_period": "2s",
        "deploy": {"replicas": REPLICAS},
    }
    swarm = {"name": "bench", "managers": MANAGERS, "backend": backend}
    return {"swarm": swarm, "services": {"web": service}}


def measure_apply(lab: Lab) -> dict[str, float]:
    """Return the seconds of applies to bare hosts and of one with nothing to do, and their cost.

    `built_s` is an operator's very first, in which the bundle is built; `first_s` any later one.
    """
    with tempfile.TemporaryDirectory() as scratch:
        operator = Operator(Path(scratch))
        with lab.claim(HOSTS, engine=False) as hosts:
            built = _twice(hosts, operator, "native")
        with lab.claim(HOSTS, engine=False) as hosts:
            return {"built_s": built["first_s"], **_twice(hosts, operator, "native")}


def measure_docker_backend(lab: Lab) -> dict[str, float]:
    """Return the same of the docker backend, which has no bundle to build."""
    with tempfile.TemporaryDirectory() as scratch, lab.claim(HOSTS) as hosts:
        import_busybox(hosts)
        return _twice(hosts, Operator(Path(scratch)), "docker")


def _twice(hosts: Sequence[Host], operator: Operator, backend: str) -> dict[str, float]:
    """Apply to bare hosts, which waits until the service runs, and once more."""
    operator.meet(hosts, playbook(backend))
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
    on_docker = sys.argv[1:] == ["docker"]
    measure = measure_docker_backend if on_docker else measure_apply
    in_lab(f"swarmops apply{', docker backend' if on_docker else ''}", measure)
