"""What every executor promises, whatever runs the tasks: one suite for all of them."""

from __future__ import annotations

import asyncio
import time

import pytest

from swarmops.agent.executors.base import LogRequest, TaskError
from swarmops.agent.work import Work
from tests.unit.agent.conftest import Bench


@pytest.mark.parametrize("code", [0, 3])
async def test_the_exit_code_is_reported(bench: Bench, code: int):
    """A task's exit code arrives as it was."""
    work = await bench.started(f"exit {code}")
    end = await bench.executor.wait(work)
    assert (end.code, end.error) == (code, "")
    assert end.container.exit_code == code


async def test_waiting_lasts_until_the_end(bench: Bench):
    """A wait that was begun early hears of the end; one that is begun late hears it at once."""
    work = await bench.started("sleep 0.3; exit 5")
    end = await asyncio.wait_for(bench.executor.wait(work), 20)
    again = await asyncio.wait_for(bench.executor.wait(work), 5)
    assert end.code == again.code == 5


async def test_the_environment_tells_the_task_where_it_is(bench: Bench):
    """The spec's environment, with templates filled in, stands over what swarmops tells."""
    env = ["A=it's {{.Task.Slot}} of {{.Service.Name}}", "odd.name=x y", "SWARMOPS_NODE_ADDR=mine"]
    work = await bench.started("", command=["env"], env=env)
    await bench.executor.wait(work)
    seen = dict(line.partition("=")[::2] for _, line in await bench.lines(work))
    assert seen["A"] == "it's 2 of web"
    assert seen["odd.name"] == "x y"
    assert seen["SWARMOPS_NODE_ADDR"] == "mine"
    assert seen["SWARMOPS_TASK_SLOT"] == "2"
    assert seen["SWARMOPS_SERVICE_NAME"] == "web"
    assert seen["SWARMOPS_TASK_NAME"] == f"web.2.{work.id}"
    assert seen["SWARMOPS_NODE_ID"] == bench.context.node_id
    assert seen["PATH"]
    assert seen["HOME"]


async def test_arguments_arrive_untouched(bench: Bench):
    """Quotes, spaces, newlines and empty arguments are nobody's business but the task's."""
    work = await bench.started('printf "<%s>" "$@"', args=["sh", "a b", "", "'\"$HOME", "x\ny"])
    await bench.executor.wait(work)
    assert [line for _, line in await bench.lines(work)] == ["<a b><><'\"$HOME><x", "y>"]


async def test_the_directory_is_the_specs(bench: Bench):
    """The command runs where the spec says."""
    work = await bench.started("pwd", dir="/tmp")
    await bench.executor.wait(work)
    assert await bench.lines(work) == [("stdout", "/tmp")]


@pytest.mark.root
async def test_the_user_is_the_specs(bench: Bench):
    """The command runs as the spec's user and group, in the spec's groups."""
    work = await bench.started("id -u; id -g; id -G", user="65534:4", groups=["50"])
    await bench.executor.wait(work)
    lines = [line for _, line in await bench.lines(work)]
    assert lines[:2] == ["65534", "4"]
    assert {"4", "50"} <= set(lines[2].split())
    assert "0" not in lines[2].split()


async def test_the_stop_signal_ends_a_task(bench: Bench):
    """A task that heeds its stop signal ends with its own exit code, well within the grace."""
    work = await bench.started("trap 'exit 7' INT; echo up; while :; do sleep 0.05; done")
    await _says_up(bench, work)
    began = time.monotonic()
    status = await bench.executor.stop(work, "SIGINT", 30)
    assert status.exit_code == 7
    assert time.monotonic() - began < 25


async def test_a_task_that_ignores_the_signal_is_killed_after_the_grace(bench: Bench):
    """The grace is granted, then SIGKILL ends the task."""
    work = await bench.started("trap '' TERM; echo up; while :; do sleep 0.05; done")
    await _says_up(bench, work)
    began = time.monotonic()
    status = await bench.executor.stop(work, "TERM", 0.5)
    assert status.exit_code == 137
    assert 0.5 <= time.monotonic() - began < 60


async def test_a_signal_that_does_not_exist_still_stops(bench: Bench):
    """Nonsense in the spec cannot keep a task running for ever."""
    work = await bench.started("sleep 60")
    status = await bench.executor.stop(work, "SIGNONSENSE", 0.2)
    assert status.exit_code == 137


async def test_stopping_what_never_started_is_no_error(bench: Bench):
    """A task may be shut down before it was prepared or started."""
    work = bench.work("exit 0")
    await bench.executor.stop(work, "SIGTERM", 5)
    await bench.executor.prepare(work)
    await bench.executor.stop(work, "SIGTERM", 5)
    await bench.executor.remove(work)
    await bench.executor.remove(work)


async def test_a_restarted_daemon_finds_the_task(bench: Bench):
    """Another executor for the same node sees the same process, and hears of its end."""
    work = bench.work("trap 'exit 4' TERM; echo up; while :; do sleep 0.05; done")
    await bench.executor.prepare(work)
    first = await bench.executor.start(work)
    await _says_up(bench, work)
    successor = await bench.another()
    await successor.reattach([work.id])
    await successor.prepare(work)
    assert await successor.start(work) == first
    waiting = asyncio.create_task(successor.wait(work))
    await bench.executor.stop(work, "SIGTERM", 20)
    assert (await asyncio.wait_for(waiting, 20)).code == 4
    once = await bench.lines(work, LogRequest(stderr=False))
    assert once == [("stdout", "up")]


async def test_what_ended_while_no_daemon_ran_is_known(bench: Bench):
    """The exit code is there even if nobody waited for it, and the task is not started again."""
    work = await bench.started("exit 6")
    await bench.executor.wait(work)
    successor = await bench.another()
    await successor.reattach([work.id])
    await successor.start(work)
    assert (await successor.wait(work)).code == 6


async def test_tasks_that_nobody_knows_are_cleared_away(bench: Bench):
    """Reattaching removes what belongs to no task, and only that."""
    kept = await bench.started("sleep 60")
    lost = await bench.started("sleep 60")
    successor = await bench.another()
    await successor.reattach([kept.id])
    with pytest.raises(TaskError):
        await successor.wait(lost)
    kept_wait = asyncio.create_task(successor.wait(kept))
    done, _ = await asyncio.wait([kept_wait], timeout=0.2)
    assert not done
    kept_wait.cancel()
    await asyncio.wait([kept_wait])


async def test_removing_ends_and_forgets(bench: Bench):
    """After a removal nothing runs and nothing is known."""
    work = await bench.started("trap '' TERM; while :; do sleep 0.05; done")
    await bench.executor.remove(work)
    with pytest.raises(TaskError):
        await bench.executor.wait(work)


async def test_output_is_kept_by_stream(bench: Bench):
    """Both streams are kept and told apart."""
    work = await bench.started("for i in 1 2 3; do echo out$i; done; echo err >&2; printf end")
    await bench.executor.wait(work)
    lines = await bench.lines(work)
    assert [line for line in lines if line[0] == "stdout"] == [
        ("stdout", "out1"),
        ("stdout", "out2"),
        ("stdout", "out3"),
        ("stdout", "end"),
    ]
    assert ("stderr", "err") in lines
    assert await bench.lines(work, LogRequest(stdout=False)) == [("stderr", "err")]
    assert await bench.lines(work, LogRequest(tail=0)) == []


async def test_a_tail_is_the_last_lines(bench: Bench):
    """A tail has so many lines, a last one without its newline included."""
    work = await bench.started("for i in 1 2 3; do echo out$i; done; printf end")
    await bench.executor.wait(work)
    lines = await bench.lines(work, LogRequest(tail=2))
    assert lines == [("stdout", "out3"), ("stdout", "end")]


async def test_output_can_be_followed(bench: Bench):
    """A follower gets lines that are written after it began."""
    work = await bench.started("echo one; sleep 0.4; echo two; sleep 60")
    seen: list[bytes] = []

    async def follow() -> None:
        async for line in bench.executor.logs(work, LogRequest(follow=True)):
            seen.append(line.data)
            if line.data == b"two":
                return

    await asyncio.wait_for(follow(), 20)
    assert seen == [b"one", b"two"]


async def test_a_follower_may_begin_with_a_tail(bench: Bench):
    """It gets so many of the lines that are there, each once, and then what comes."""
    script = (
        "for i in 1 2 3; do echo out$i; done; trap 'echo more' USR1; while :; do sleep 0.1; done"
    )
    work = await bench.started(script)
    seen: list[bytes] = []

    async def follow(tail: int, until: bytes) -> None:
        async for line in bench.executor.logs(work, LogRequest(follow=True, tail=tail)):
            seen.append(line.data)
            if line.data == until:
                return

    await asyncio.wait_for(follow(-1, b"out3"), 20)
    seen.clear()
    following = asyncio.create_task(follow(2, b"more"))
    await asyncio.wait([following], timeout=0.1)
    await bench.executor.stop(work, "USR1", 1)
    await asyncio.wait_for(following, 20)
    assert seen == [b"out2", b"out3", b"more"]


async def test_a_long_line_arrives_whole(bench: Bench):
    """However an engine cuts it into pieces."""
    work = await bench.started("head -c 40000 /dev/zero | tr '\\0' x; echo; echo end")
    await bench.executor.wait(work)
    lines = await bench.lines(work)
    assert [len(line) for _, line in lines] == [40000, 3]
    assert set(lines[0][1]) == {"x"}


async def test_preparing_can_be_cancelled(bench: Bench):
    """A cancelled preparation leaves something that can be removed, and no thread behind."""
    work = bench.work("exit 0")
    preparing = asyncio.create_task(bench.executor.prepare(work))
    await asyncio.sleep(0)
    preparing.cancel()
    await asyncio.wait([preparing])
    await bench.executor.remove(work)
    with pytest.raises(TaskError):
        await bench.executor.wait(work)


@pytest.mark.slow
async def test_many_start_and_stop_at_once(bench: Bench):
    """Twelve tasks with a grace are stopped side by side, not one after the other."""
    works = await asyncio.gather(
        *(bench.started("trap '' TERM; echo up; while :; do sleep 0.1; done") for _ in range(12))
    )
    await asyncio.gather(*(_says_up(bench, work) for work in works))
    began = time.monotonic()
    await asyncio.gather(*(bench.executor.stop(work, "TERM", 2) for work in works))
    assert time.monotonic() - began < 23  # one after the other takes 24


async def _says_up(bench: Bench, work: Work) -> None:
    async def up() -> None:
        async for line in bench.executor.logs(work, LogRequest(follow=True)):
            if line.data == b"up":
                return

    await asyncio.wait_for(up(), 60)
