"""One member of stock PySyncObj as a process of its own, all settings left at their defaults.

``python -m bench.raft_stock SELF PARTNER,PARTNER``, addresses as ``ip:port``. Takes the same orders
as ``raft_member``, as far as it knows them. The defaults keep nothing on disk and encrypt nothing.
"""

from __future__ import annotations

import json
import sys
import threading
from functools import partial
from typing import Any

from pysyncobj import SyncObj, replicated

from bench.raft_load import Count, now_s

KEYS = 1000
_GRACE_S = 3.0


class Stock(SyncObj):  # type: ignore[misc]
    """As simple a state as ours: the last command under each of some keys."""

    def __init__(self, me: str, partners: list[str]) -> None:
        super().__init__(me, partners)
        self.kept: dict[int, bytes] = {}
        self.count = 0

    @replicated  # type: ignore[untyped-decorator]
    def put(self, data: bytes) -> int:
        """Keep."""
        self.count += 1
        self.kept[self.count % KEYS] = data
        return self.count


def load(stock: Stock, order: dict[str, Any]) -> dict[str, float]:
    """Keep so many commands in flight; each answer sends the next one."""
    count = Count(order["warm_up_s"], order["length_s"])
    command = bytes(order["bytes"])
    left = threading.Semaphore(0)

    def send() -> None:
        stock.put(command, callback=partial(answered, now_s()))

    def answered(sent_s: float, _result: object, failure: int) -> None:
        if failure:
            count.failed += 1
        else:
            count.answered(sent_s)
        if count.is_over():
            left.release()
        else:
            send()

    for _ in range(order["in_flight"]):
        send()
    for _ in range(order["in_flight"]):
        # Some are never answered: the library forgets a command whose way to the leader broke.
        patience_s = max(0.0, count.ends_s + _GRACE_S - now_s())
        count.failed += not left.acquire(timeout=patience_s)
    return count.numbers()


def status(stock: Stock) -> dict[str, Any]:
    """Tell who leads."""
    found = stock.getStatus()
    leader = found["leader"]
    return {
        "leader": leader and str(leader.id),
        "is_leader": leader is not None and leader == found["self"],
        "term": found["raft_term"],
        "applied": found["last_applied"],
    }


def main(me: str, partners: str) -> None:
    """Run until killed, or until the conductor is gone."""
    stock = Stock(me, partners.split(","))
    stock.waitBinded()
    print(json.dumps({"started": me}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        answer = load(stock, order) if order["do"] == "load" else status(stock)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
