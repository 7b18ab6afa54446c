"""A look at a container holds until there is news of it, and no longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from swarmops.agent.executors.docker_engine import Engine
from swarmops.agent.executors.docker_looks import GoneError, Looks
from swarmops.agent.work import Work

MakeWork = Callable[..., Work]
WITHIN_S = 10.0
RUNNING, EXITED = ("running", True), ("exited", False)


class QuietEngine(Engine):
    """Has no news but what a test wakes it with."""

    def __init__(self) -> None:
        super().__init__("unix:///nowhere", "node")

    def _listen(self) -> None:
        pass

    @property
    def watched(self) -> int:
        """How many tasks news is wanted of."""
        return len(self._waiting)


class Asked:
    """Answers looks with the given states, the last one again and again, and counts them."""

    def __init__(self, engine: Engine, *states: tuple[str, bool] | None) -> None:
        self._engine = engine
        self._states = list(states)
        self.times = 0
        self.meanwhile: str | None = None

    async def __call__(self, _: Work) -> dict[str, Any] | None:
        """Answer; before that, let happen what shall happen meanwhile."""
        self.times += 1
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        await asyncio.sleep(0)
        if self.meanwhile is not None:
            self._engine.wake(self.meanwhile)
            self.meanwhile = None
        if state is None:
            return None
        return {"Id": "1", "State": {"Status": state[0], "Running": state[1]}}


@pytest.fixture
async def engine() -> QuietEngine:
    """Return an engine that says nothing by itself."""
    return QuietEngine()


@pytest.fixture
def task(work: MakeWork) -> Work:
    """Return a task."""
    return work(image="busybox:1")


def status(found: dict[str, Any]) -> str:
    """Return the engine's word for the state."""
    return str(found["State"]["Status"])


def ended(state: dict[str, Any]) -> bool:
    """Whether it does not run."""
    return not state["Running"]


async def test_without_news_the_engine_is_asked_once(engine: QuietEngine, task: Work):
    """Whatever is wanted of the container, and by whomever."""
    asked = Asked(engine, RUNNING)
    looks = Looks(engine, asked)
    await looks.look(task)
    assert status(await looks.known(task)) == "running"
    assert status(await looks.once(task, lambda state: state["Running"])) == "running"
    engine.wake("another")
    await looks.known(task)
    assert asked.times == 1


async def test_what_was_just_made_needs_no_look(engine: QuietEngine, task: Work):
    """Until it is started, which is when it is forgotten."""
    asked = Asked(engine, RUNNING)
    looks = Looks(engine, asked)
    looks.made(task, "1")
    assert status(await looks.known(task)) == "created"
    looks.forget(task)
    assert status(await looks.known(task)) == "running"
    assert asked.times == 1


@pytest.mark.parametrize("news", ["of it", "of all"], ids=["of it", "of all"])
async def test_after_news_it_is_looked_at_again(engine: QuietEngine, task: Work, news: str):
    """Of all: events may have been missed."""
    looks = Looks(engine, Asked(engine, RUNNING, EXITED))
    await looks.look(task)
    engine.wake(task.id if news == "of it" else None)
    assert status(await looks.once(task, ended)) == "exited"


async def test_news_that_comes_during_a_look_counts(engine: QuietEngine, task: Work):
    """The engine may have read the state before it changed."""
    asked = Asked(engine, RUNNING, EXITED)
    asked.meanwhile = task.id
    looks = Looks(engine, asked)
    assert status(await looks.look(task)) == "running"
    assert status(await asyncio.wait_for(looks.once(task, ended), WITHIN_S)) == "exited"


async def test_news_during_a_look_that_is_waited_for_counts(engine: QuietEngine, task: Work):
    """Also during the first look of the wait."""
    asked = Asked(engine, RUNNING, EXITED)
    asked.meanwhile = task.id
    found = await asyncio.wait_for(Looks(engine, asked).once(task, ended), WITHIN_S)
    assert status(found) == "exited"


async def test_news_during_a_later_look_counts_too(engine: QuietEngine, task: Work):
    """Nothing else may come ever after."""
    asked = Asked(engine, RUNNING, RUNNING, EXITED)
    waiting = asyncio.create_task(Looks(engine, asked).once(task, ended))
    await asyncio.sleep(0.01)
    asked.meanwhile = task.id
    engine.wake(task.id)
    assert status(await asyncio.wait_for(waiting, WITHIN_S)) == "exited"


async def test_each_news_costs_one_look(engine: QuietEngine, task: Work):
    """The engine isn't asked without end."""
    asked = Asked(engine, RUNNING)
    waiting = asyncio.create_task(Looks(engine, asked).once(task, ended))
    await asyncio.sleep(0.01)
    engine.wake(task.id)
    await asyncio.sleep(0.01)
    assert asked.times == 2
    waiting.cancel()


async def test_who_waits_for_news_keeps_nothing_and_hears_it(engine: QuietEngine, task: Work):
    """So a container that runs for months costs no memory for how it began."""
    asked = Asked(engine, RUNNING, RUNNING, EXITED)
    looks = Looks(engine, asked)
    await looks.look(task)
    waiting = asyncio.create_task(looks.once(task, ended))
    await asyncio.sleep(0)
    assert not looks._kept
    for _ in range(2):
        engine.wake(task.id)
        await asyncio.sleep(0.01)
    assert status(await asyncio.wait_for(waiting, WITHIN_S)) == "exited"
    assert asked.times == 3


async def test_a_container_that_is_gone_leaves_nothing_behind(engine: QuietEngine, task: Work):
    """Neither what was known of it before, nor a watch."""
    looks = Looks(engine, Asked(engine, RUNNING, None))
    await looks.look(task)
    with pytest.raises(GoneError, match="No such container"):
        await looks.look(task)
    assert not looks._kept
    assert engine.watched == 0


async def test_forgetting_ends_the_watch(engine: QuietEngine, task: Work):
    """However often it was looked at; what isn't known may be forgotten too."""
    looks = Looks(engine, Asked(engine, RUNNING))
    looks.made(task, "1")
    for _ in range(3):
        await looks.look(task)
    assert engine.watched == 1
    for _ in range(2):
        looks.forget(task)
    assert engine.watched == 0


async def test_what_has_ended_is_not_kept(engine: QuietEngine, task: Work):
    """Whoever waited for it: ended tasks stay in the history for days."""
    await Looks(engine, Asked(engine, EXITED)).once(task, ended)
    assert engine.watched == 0


async def test_a_look_that_is_cancelled_leaves_no_watch(engine: QuietEngine, task: Work):
    """The engine may take its time."""
    looking = asyncio.create_task(Looks(engine, Asked(engine, RUNNING)).look(task))
    await asyncio.sleep(0)
    looking.cancel()
    await asyncio.wait([looking])
    assert engine.watched == 0


async def test_of_two_looks_at_a_time_one_is_kept(engine: QuietEngine, task: Work):
    """And forgotten with its watch."""
    looks = Looks(engine, Asked(engine, RUNNING))
    await asyncio.gather(looks.look(task), looks.look(task))
    looks.forget(task)
    assert engine.watched == 0
