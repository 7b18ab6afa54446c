"""One simulated run, from one seed: a group is formed, harmed, left in peace, and judged.

``simulate(seed)`` returns a ``Report`` or raises ``Failure``, which knows the trace.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import msgspec

from swarmops.raft import MembershipRefused, RaftError, Status, Timing
from swarmops.raft.messages import Message
from tests.sim.raft import linearizability, machine
from tests.sim.raft.clients import Clients
from tests.sim.raft.faults import Nemesis
from tests.sim.raft.invariants import Invariants
from tests.sim.raft.member import SimMember, watch_journals
from tests.sim.raft.network import Network
from tests.sim.raft.trace import LogToTrace, Trace, Violation
from tests.sim.virtual_loop import VirtualTimeLoop

_FORM_S = 30.0
_RECOVER_S = 30.0
_CALM_S = 5.0


class Report(msgspec.Struct):
    """What one seed did."""

    seed: int
    virtual_s: float
    wall_s: float
    faults: Counter[str]
    acknowledged: int
    unknown: int
    refused: int
    reads: int
    elections: int
    undecided: int
    trace_hash: int


class Failure(Exception):  # noqa: N818 - the seed's outcome
    """A seed that broke an invariant."""

    def __init__(self, seed: int, cause: BaseException, trace: Trace) -> None:
        super().__init__(f"seed {seed}: {cause!r}")
        self.seed, self.cause, self.trace = seed, cause, trace


class World:
    """Everything of one run."""

    def __init__(self, seed: int, *, detailed: bool = False) -> None:
        self.rng = random.Random(seed)
        self.counts: Counter[str] = Counter()
        self.trace = Trace(detailed=detailed)
        self.members: dict[str, SimMember] = {}
        self.invariants = Invariants(self.trace, self.members)
        self.network = Network(self.fork(), self.counts, self._observe)
        self.size = self.rng.choice((3, 3, 3, 5, 5, 7))
        self.counts[f"(groups of {self.size})"] += 1
        self.timing = self._draw_timing()
        self.tasks: set[asyncio.Task[Any]] = set()
        self.orders: set[asyncio.Task[Any]] = set()
        self.error: BaseException | None = None
        self.in_peace = False
        self.cuts_take_power: bool | None = None
        self.obstacle = ""
        self.undecided = 0
        self._number = 0

    def fork(self) -> random.Random:
        """Give a part of the simulation a generator of its own."""
        return random.Random(self.rng.getrandbits(64))

    def _draw_timing(self) -> Timing:
        """Make everything small sometimes, so that rare ways are taken often."""
        rng = self.rng
        snapshot_entries = rng.choice((5, 20, 60, 300))
        return Timing(
            snapshot_entries=snapshot_entries,
            trailing_entries=min(snapshot_entries - 1, rng.choice((1, 5, 50))),
            segment_bytes=rng.choice((300, 2_000, 20_000)),
            batch_bytes=rng.choice((300, 5_000, 1_000_000)),
            inflight_messages=rng.choice((4, 64)),
            inflight_bytes=rng.choice((10_000, 8_000_000)),
            lagging_entries=rng.choice((0, 50, 100_000)),
        )

    # Who is there.

    def running(self) -> list[SimMember]:
        """List the members that run and have opened their disk."""
        return [m for m in self.members.values() if m.is_running and m.raft._run is not None]

    def any_running(self, rng: random.Random) -> SimMember | None:
        """Choose one that runs."""
        running = [m for m in self.running() if not m.stopping]
        return rng.choice(running) if running else None

    def wanted(self) -> list[SimMember]:
        """List those that the group shall keep."""
        return [m for m in self.members.values() if m.fate in {"member", "joining"}]

    def leader(self) -> SimMember | None:
        """Return the leader that can serve, the newest if several believe it."""
        leaders = [m for m in self.running() if not m.stopping and m.raft.status().is_leader]
        return max(leaders, key=lambda m: m.raft.status().term, default=None)

    def _observe(self, sender: str, to: str, message: Message) -> None:
        self.members[sender].sent(to, message)
        if self.trace.detailed:
            self.trace.add(self.members[sender].name, "-> %s %s", self.members[to].name, message)

    def order(self, work: Coroutine[Any, Any, Any]) -> None:
        """Have an operator's order carried out beside; peace waits for its end."""
        task = self.spawn(work)
        self.orders.add(task)
        task.add_done_callback(self.orders.discard)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something beside; what it raises ends the run."""
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            self.error = self.error or task.exception()

    def new_member(self) -> SimMember:
        """Make one that has not started."""
        self._number += 1
        member = SimMember(self, self._number)
        member.rate = self.rng.uniform(1 - self.drift, 1 + self.drift)
        self.counts["clock drifts"] += self.drift > 0
        self.members[member.me.raft_id] = member
        return member

    # What happens to members.

    def crash(self, member: SimMember, *, power: bool) -> None:
        """End a run at once; it begins again later by itself."""
        if not member.is_running:
            return
        self.trace.add(member.name, "loses power" if power else "is killed")
        member.disk.cut_after = None
        member.end_run()
        self.network.hang_up(member.transport, quietly=power and self.rng.random() < 0.5)
        if power:
            member.disk.lose_power()
        if member.fate == "member":
            delay = 0.1 if self.in_peace else self.rng.choice((0.05, 0.5, 3.0)) * self.rng.random()
            asyncio.get_running_loop().call_later(delay, lambda: self.spawn(self.restart(member)))

    def cut(self, member: SimMember) -> None:
        """A disk operation was cut short: half of the time by the end of the power."""
        self.counts["cut off in the middle of a disk operation"] += 1
        power = self.rng.random() < 0.5 if self.cuts_take_power is None else self.cuts_take_power
        self.crash(member, power=power)

    async def restart(self, member: SimMember) -> None:
        """Start again, until it runs."""
        while not member.is_running and member.fate == "member":
            if not await member.start("open"):
                await asyncio.sleep(0.5)

    async def ask(self, member: SimMember, work: Coroutine[Any, Any, Any]) -> Any:
        """Wait for what was asked of a member, or raise ConnectionAbortedError at its end."""
        ended = member.ended
        task = asyncio.ensure_future(work)
        await asyncio.wait((task, ended), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            raise ConnectionAbortedError
        return task.result()

    async def replace(self, lost: SimMember) -> None:
        """Remove a member whose disk is lost for ever, and add another for it."""
        while lost.me.raft_id not in self.removed():
            asked = self.any_running(self.rng)
            if asked is not None:
                await self.ask_quietly(asked, asked.raft.remove_member(lost.me.raft_id))
            await asyncio.sleep(0.3)
        await self.join()

    def removed(self) -> frozenset[str]:
        """Collect whose removal is known to anyone."""
        return frozenset().union(*(m.raft.status().removed for m in self.running()))

    async def ask_quietly(self, member: SimMember, work: Coroutine[Any, Any, Any]) -> None:
        """Ask, and take any refusal for an answer."""
        try:
            await self.ask(member, work)
        except (RaftError, ConnectionAbortedError) as error:
            self.trace.add(member.name, "refuses: %r", error)

    async def join(self) -> None:
        """Add a new member and start it, however often that has to be tried."""
        member = self.new_member()
        while True:
            asked = self.any_running(self.rng)
            if asked is not None:
                try:
                    peers = await self.ask(asked, asked.raft.add_member(member.me, timeout_s=3))
                    break
                except MembershipRefused:
                    member.fate = "out"
                    return
                except (RaftError, ConnectionAbortedError) as error:
                    self.trace.add(member.name, "not taken in yet: %r", error)
            await asyncio.sleep(0.3)
        while member.fate == "joining":
            if await member.start("join", peers):
                member.fate = "member"
            elif "term" in member.disk.names():
                member.fate = "member"
                await self.restart(member)
            else:
                await asyncio.sleep(0.3)

    # The run.

    async def run(self) -> None:
        """Form, harm, leave in peace, judge."""
        loop = asyncio.get_running_loop()
        await self.begin(drift=self.rng.choice((0.0, 0.01, 0.05)))
        self._draw_network()
        await self.form()
        self.clients = Clients(self)
        clients = asyncio.ensure_future(self.clients.run(self.rng.choice((2, 4, 8))))
        harm_s = self.rng.choice((4.0, 8.0, 16.0))
        self.spawn(Nemesis(self).run(harm_s))
        harm_end = loop.time() + harm_s
        await self.until(lambda: loop.time() >= harm_end, harm_s + 1, "the end of the faults")
        self._make_peace()
        await self._recover()
        await self._stay_calm()
        self.clients.is_stopping = True
        await self.until(clients.done, 20, "all clients have their answers")
        clients.result()
        await self.settle()
        self._judge()

    async def begin(self, *, drift: float) -> None:
        """Start the clockwork: time, network, and the watch for errors."""
        loop = asyncio.get_running_loop()
        self.drift = drift
        self.trace.use_clock(loop.time)
        loop.set_exception_handler(self._unhandled)
        self.spawn(self._poll())

    def _draw_network(self) -> None:
        network = self.network
        network.delay_s = self.rng.choice((0.0005, 0.002, 0.01))
        if self.rng.random() < 0.5:
            network.loss = self.rng.choice((0.0, 0.01, 0.1))
            network.repeat = self.rng.choice((0.0, 0.05, 0.3))
            network.reorder = self.rng.choice((0.0, 0.05, 0.3))

    def _unhandled(self, _loop: object, context: dict[str, Any]) -> None:
        self.error = self.error or context.get("exception") or RuntimeError(context["message"])

    async def _poll(self) -> None:
        while True:
            self.network.poll()
            await asyncio.sleep(0.05)

    async def until(self, condition: Callable[[], bool], bound_s: float, what: str) -> None:
        """Wait for a condition; raises what went wrong meanwhile, or Violation at the bound."""
        loop = asyncio.get_running_loop()
        end = loop.time() + bound_s
        while True:
            if error := self.invariants.failure or self.error:
                raise error
            if condition():
                return
            if loop.time() > end:
                raise Violation(f"liveness: not within {bound_s:g} s: {what} {self.obstacle}")
            await asyncio.sleep(0.05)

    async def form(self) -> None:
        """Bootstrap one member and let the others join."""
        first = self.new_member()
        await first.start("bootstrap")
        first.fate = "member"
        await self.until(lambda: self.leader() is not None, _FORM_S, "a bootstrapped leader")
        for _ in range(self.size - 1):
            self.spawn(self.join())
        await self.until(self.is_whole, _FORM_S, "all vote")

    def is_whole(self) -> bool:
        """All that shall be members run, vote and know it."""
        ids = {m.me.raft_id for m in self.wanted()}
        running = [m for m in self.running() if not m.stopping]
        return (
            len(ids) == self.size
            and {m.me.raft_id for m in running} == ids
            and all({v.raft_id for v in m.raft.status().voters} == ids for m in running)
        )

    def _make_peace(self) -> None:
        """Faults stop: everything works again, members that are down come back."""
        self.trace.add("fault", "no more faults")
        self.in_peace = True
        self.network.heal()
        self.network.slow.clear()
        self.network.loss = self.network.repeat = self.network.reorder = 0.0
        for member in self.members.values():
            member.disk.is_full, member.disk.bad_syncs, member.disk.cut_after = False, 0, None
            member.speed.mean_s, member.speed.is_stuck = 0.001, False
            if member.is_running:
                member.process.resume()

    async def _recover(self) -> None:
        """Liveness: a leader, everyone in, those that are out know it, all take proposals."""
        await self.until(lambda: self.leader() is not None, _RECOVER_S, "a leader after faults")
        await self.until(lambda: not self.orders, _RECOVER_S, "orders are carried out")
        await self.until(self._members_agree, _RECOVER_S, "members agree on who is one")
        for member in self.running():
            # A removal that nobody waits for any more may still be carried out.
            if not await self.clients.write(member, 1, 5.0) and member.fate != "out":
                self.invariants.fail(member, "a proposal in peace was not answered")
            if not await self.clients.read(member, 1, 5.0) and member.fate != "out":
                self.invariants.fail(member, "a read in peace was not answered")

    def _members_agree(self) -> bool:
        """Compare the leader's configuration with who runs and who knows to be out."""
        leader = self.leader()
        self.obstacle = "no leader" if leader is None else self._disagreement(leader.raft.status())
        return not self.obstacle

    def _disagreement(self, status: Status) -> str:
        voters = {v.raft_id for v in status.voters}
        for member in self.members.values():
            me = member.me.raft_id
            if me in voters:
                if not member.is_running or member.raft._run is None or member.stopping:
                    return f"{member.name} votes but is down ({member.fate})"
                if member.raft.status().voters != status.voters:
                    return f"{member.name} knows other voters"
            elif me in status.removed:
                if member.fate not in {"out", "lost"}:
                    return f"{member.name} does not know of its removal ({member.fate})"
            else:
                return f"{member.name} is no voter yet ({member.fate})"
        return ""

    async def _stay_calm(self) -> None:
        """No election without a reason: in peace, under load, the term stays."""
        before = self.invariants.newest_term
        loop = asyncio.get_running_loop()
        end = loop.time() + _CALM_S
        await self.until(lambda: loop.time() >= end, 60, "time passes")
        if self.invariants.newest_term != before:
            raise Violation(f"an election in peace: term {self.invariants.newest_term}")

    async def settle(self) -> None:
        """Wait until all have applied the same."""

        def same() -> bool:
            return len({m.raft.status().applied_index for m in self.running()}) == 1

        await self.until(same, 20, "all members apply everything")

    async def until_running(
        self,
        member: SimMember,
        *,
        run: int = 0,
        ask: Callable[[], Coroutine[Any, Any, Any]] | None = None,
    ) -> None:
        """Wait until a member is in this run of it; meanwhile keep asking for something."""
        loop = asyncio.get_running_loop()
        end = loop.time() + 60
        while member.runs < run or member not in self.running():
            if ask is not None:
                await ask()
            await self.until(lambda: True, 1, "")
            if loop.time() > end:
                raise Violation(f"{member.name} does not run (again)")
            await asyncio.sleep(0.01)

    def tell_members(self) -> None:
        """Put everyone's view at the end of the trace."""
        for member in self.members.values():
            state = "down"
            if member.is_running and member.raft._run is not None:
                status = member.raft.status()
                names = {m.me.raft_id: m.name for m in self.members.values()}
                known = sorted(names[v.raft_id] for v in status.members)
                linked = sorted(names[r] for r in member.transport.connections)
                state = (
                    f"leader {names.get(status.leader or '')} term {status.term} "
                    f"commit {status.commit_index} applied {status.applied_index} "
                    f"last {member.raft._running.journal.last_index} durable "
                    f"{member.raft._running.journal.durable_index} knows {known} linked {linked} "
                    f"disk {status.disk_error}"
                )
            self.trace.add(member.name, "ends %s: %s", member.fate, state)

    # The judgement.

    def _judge(self) -> None:
        history = self.clients.history
        for member in self.running():
            lost = history.acknowledged - member.machine.ids
            if lost:
                self.invariants.fail(member, f"lost what was acknowledged: {sorted(lost)[:5]}")
            if missing := history.applied_unseen - member.machine.ids:
                self.invariants.fail(member, f"said to be applied, but not: {sorted(missing)[:5]}")
            if wrong := history.refused & member.machine.ids:
                self.invariants.fail(member, f"refused, yet applied: {sorted(wrong)[:5]}")
            if member.machine.chain != self.running()[0].machine.chain:
                self.invariants.fail(member, "its state is another")
        for key, operations in sorted(history.by_key.items()):
            try:
                if not linearizability.is_linearizable(operations, machine.ABSENT):
                    self._tell_history(key, operations)
                    raise Violation(f"the history of key {key} is not linearizable")
            except linearizability.Undecided:
                self.undecided += 1

    def _tell_history(self, key: int, operations: list[linearizability.Operation]) -> None:
        for operation in operations:
            self.trace.add(f"key {key}", "%s", operation)


def simulate(seed: int, *, detailed: bool = False) -> Report:
    """Run one seed; raises Failure."""
    return play(World(seed, detailed=detailed), seed, lambda world: world.run())


def play(world: World, seed: int, scenario: Callable[[World], Coroutine[Any, Any, None]]) -> Report:
    """Run a scenario in a world on a virtual clock; raises Failure."""
    with _no_garbage_collection():
        return _play(world, seed, scenario)


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Collect once a seed, at its end: again and again it costs more than the seed's few MB."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
        gc.collect()


def _play(
    world: World, seed: int, scenario: Callable[[World], Coroutine[Any, Any, None]]
) -> Report:
    began = time.perf_counter()
    logger = logging.getLogger("swarmops.raft")
    handler = LogToTrace(world.trace)
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner, ExitStack() as stack:
            stack.enter_context(watch_journals(world))
            loop = runner.get_loop()
            try:
                runner.run(scenario(world))
            except Exception as error:
                world.tell_members()
                raise Failure(
                    seed, world.invariants.failure or world.error or error, world.trace
                ) from error
            finally:
                for member in world.members.values():
                    member.end_run()
            virtual_s = loop.time()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
    history = world.clients.history
    return Report(
        seed=seed,
        virtual_s=virtual_s,
        wall_s=time.perf_counter() - began,
        faults=world.counts,
        acknowledged=len(history.acknowledged),
        unknown=history.unknown,
        refused=len(history.refused),
        reads=history.reads,
        elections=len(world.invariants.leaders),
        undecided=world.undecided,
        trace_hash=hash_trace(world.trace),
    )


def hash_trace(trace: Trace) -> int:
    """One number for all that happened, to see that a seed always does the same."""
    import zlib

    value = 0
    for line in trace.lines():
        value = zlib.crc32(line.encode(), value)
    return value
