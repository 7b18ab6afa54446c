"""The executor's promises: order, failures that stop only what needs them, Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import msgspec
import pytest

from swarmops.errors import HostError, SwarmopsError
from swarmops.fleet.execute import Ended, Executed, State, Watcher, execute
from swarmops.fleet.steps import Step, StepKind
from swarmops.model.node import Role


def step(name: str, after: str = "", follows: str = "") -> Step:
    """Make a step called ``name`` on a host of that name."""
    return Step(
        id=name,
        kind=StepKind.START,
        target=name,
        reason="",
        proof="",
        after=tuple(after.split()),
        follows=tuple(follows.split()),
    )


class Hand:
    """Does steps as told and keeps in which order."""

    def __init__(self, **outcomes: bool | SwarmopsError) -> None:
        self.outcomes = outcomes
        self.done: list[str] = []

    def __call__(self, one: Step) -> bool:
        """Do a step."""
        self.done.append(one.id)
        outcome = self.outcomes.get(one.id, True)
        if isinstance(outcome, SwarmopsError):
            raise outcome
        return outcome


def states(executed: Executed) -> dict[str, str]:
    """Return how each step ended."""
    return {ended.step.id: ended.state.value for ended in executed.ended}


FAIL = HostError("a", "no disk")
CASES: dict[str, tuple[list[Step], Hand, dict[str, str]]] = {
    "nothing to do": ([], Hand(), {}),
    "in order": (
        [step("a"), step("b", "a"), step("c", "b")],
        Hand(),
        {"a": "done", "b": "done", "c": "done"},
    ),
    "already so": ([step("a"), step("b", "a")], Hand(a=False), {"a": "unneeded", "b": "done"}),
    "a failure skips what needs it, at any distance, and nothing else": (
        [step("a"), step("b", "a"), step("c", "b"), step("d")],
        Hand(a=FAIL),
        {"a": "failed", "b": "skipped", "c": "skipped", "d": "done"},
    ),
    "what only follows runs after a failure": (
        [step("a"), step("b", follows="a")],
        Hand(a=FAIL),
        {"a": "failed", "b": "done"},
    ),
    "what only follows runs after a skip": (
        [step("a"), step("b", "a"), step("c", follows="b")],
        Hand(a=FAIL),
        {"a": "failed", "b": "skipped", "c": "done"},
    ),
    "one of two fails": (
        [step("a"), step("b"), step("c", "a b")],
        Hand(a=FAIL),
        {"a": "failed", "b": "done", "c": "skipped"},
    ),
}


@pytest.mark.parametrize(("steps", "hand", "expected"), CASES.values(), ids=CASES.keys())
def test_outcomes(steps: list[Step], hand: Hand, expected: dict[str, str]) -> None:
    """Each step ends as the steps that it waits for allow."""
    executed = execute(steps, hand)
    assert states(executed) == expected
    assert set(hand.done) == {
        name for name, state in expected.items() if state not in {"skipped", "not begun"}
    }


def test_order() -> None:
    """A step never begins before all that it waits for has ended."""
    steps = [step("d", "b c"), step("b", "a"), step("c", follows="a"), step("a")]
    hand = Hand()
    execute(steps, hand)
    assert hand.done[0] == "a"
    assert hand.done[-1] == "d"


def test_reasons() -> None:
    """A failure carries its reason without the host's name, each skip the failure behind it."""
    executed = execute([step("a"), step("b", "a"), step("c", "b")], Hand(a=FAIL))
    why = "start of a failed"
    assert [ended.reason for ended in executed.ended] == ["no disk", why, why]


@pytest.mark.parametrize(
    ("role", "why"),
    [(Role.MANAGER, "promotion of a failed"), (Role.WORKER, "demotion of a failed")],
)
def test_a_change_of_role_that_failed_is_called_what_it_is(role: Role, why: str) -> None:
    """As the plan calls it, not as the API's request."""
    change = msgspec.structs.replace(step("a"), kind=StepKind.UPDATE_NODE, role=role)
    _, skipped = execute([change, step("b", "a")], Hand(a=FAIL)).ended
    assert skipped.reason == why


def test_unknown_dependency() -> None:
    """A step that waits for one that is not there is a defect, said before anything is done."""
    hand = Hand()
    with pytest.raises(ValueError, match="not in the plan"):
        execute([step("a"), step("b", "x")], hand)
    assert hand.done == []


def test_defect() -> None:
    """An error that is no SwarmopsError is raised as it is."""

    def broken(_: Step) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        execute([step("a")], broken)


def test_at_once() -> None:
    """Steps that don't wait for each other run at the same time."""
    barrier = threading.Barrier(3, timeout=60)

    def together(_: Step) -> bool:
        barrier.wait()
        return True

    executed = execute([step("a"), step("b"), step("c")], together)
    assert states(executed) == {"a": "done", "b": "done", "c": "done"}


def test_forks() -> None:
    """As many steps as ``forks`` run at once, and never more."""
    pair = threading.Barrier(2, timeout=60)
    lock = threading.Lock()
    running = 0
    most = 0

    def count(_: Step) -> bool:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        pair.wait()
        with lock:
            running -= 1
        return True

    executed = execute([step(f"s{i}") for i in range(20)], count, forks=2)
    assert set(states(executed).values()) == {"done"}
    assert most == 2


class Interrupting(Watcher):
    """Presses Ctrl-C when it hears of a step, and releases another once that was noticed."""

    def __init__(self, when: str, release: Callable[[], None]) -> None:
        self.when = when
        self.release = release
        self.heard: list[tuple[str, State]] = []
        self.let_end: list[str] = []

    def stopping(self, running: Sequence[Step]) -> None:
        """Hear what is let come to its end."""
        self.let_end = [one.id for one in running]
        self.release()

    def ended(self, ended: Ended) -> None:
        """Hear of an end."""
        self.heard.append((ended.step.id, ended.state))
        if ended.step.id == self.when:
            raise KeyboardInterrupt


def test_interrupt() -> None:
    """Ctrl-C lets running steps end, begins nothing new, and every step's end is known."""
    began_b = threading.Event()
    pressed = threading.Event()

    def do(one: Step) -> bool:
        if one.id == "b":
            began_b.set()
            assert pressed.wait(60)
        if one.id == "a":
            assert began_b.wait(60)
        return True

    watcher = Interrupting("a", pressed.set)
    steps = [step("a"), step("b"), step("c", "a"), step("d", "b")]
    executed = execute(steps, do, watcher=watcher)
    assert executed.interrupted
    assert watcher.let_end == ["b"]
    assert states(executed) == {"a": "done", "b": "done", "c": "not begun", "d": "not begun"}
    assert dict(watcher.heard) == {ended.step.id: ended.state for ended in executed.ended}
