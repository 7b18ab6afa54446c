"""What a run costs in processor time, on the operator's machine and on all hosts together.

Seconds depend on what else a machine does; this doesn't, so it is printed beside them.
"""

import resource
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.lab.hosts import Host, run_in

# Of the host's own control group, in nanoseconds: the first or the second version of the kernel's.
_USAGE = (
    "cat /sys/fs/cgroup/cpuacct/cpuacct.usage 2>/dev/null"
    " || awk '/^usage_usec/ {print $2 * 1000}' /sys/fs/cgroup/cpu.stat"
)


class Spending:
    """Processor seconds since this was made, of the hosts and of ended child processes."""

    def __init__(self, hosts: Sequence[Host]) -> None:
        self._hosts = hosts
        self._hosts_s = self._used_on_hosts_s()
        self._children_s = _used_by_children_s()

    def spent_s(self) -> float:
        """Return what was spent so far."""
        children_s = _used_by_children_s() - self._children_s
        return children_s + self._used_on_hosts_s() - self._hosts_s

    def _used_on_hosts_s(self) -> float:
        with ThreadPoolExecutor(len(self._hosts)) as pool:
            return sum(pool.map(_used_s, self._hosts))


def _used_s(host: Host) -> float:
    done = run_in(host, "sh", "-c", _USAGE)
    return float(done.stdout) / 1e9


def _used_by_children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
