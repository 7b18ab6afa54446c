"""Images are pulled as Docker pulls them: with credentials, by digest, again when a tag moved."""

from __future__ import annotations

import asyncio
import base64
from uuid import uuid4

import pytest
from msgspec.structs import replace

from swarmops.agent.executors.base import TaskError
from swarmops.agent.work import Work
from tests.unit.agent.conftest import Bench
from tests.unit.agent.registry import AUTH, PASSWORD, Registry

pytestmark = pytest.mark.root


@pytest.fixture
def name() -> str:
    """Return a repository that no other test has."""
    return f"app-{uuid4().hex}"


def version(bench: Bench, image: str, auth: str = AUTH) -> Work:
    """Return work that says which version its image is."""
    work = bench.work("", image=image, command=["cat", "/version"])
    return replace(work, registry_auth=auth)


async def said(bench: Bench, work: Work) -> str:
    """Run it and return what it says."""
    await bench.executor.prepare(work)
    await bench.executor.start(work)
    await asyncio.wait_for(bench.executor.wait(work), 20)
    return "".join(line for _, line in await bench.lines(work))


async def test_a_private_image_needs_its_credentials(
    containers: Bench, registry: Registry, name: str
):
    """With them it is pulled; without, or with wrong ones, the task is rejected with the reason."""
    registry.push(f"{name}:1", "one")
    image = f"{registry.address}/{name}:1"
    wrong = base64.urlsafe_b64encode(b'{"username":"ops","password":"guess"}').decode()
    for auth in ("", wrong):
        with pytest.raises(TaskError, match=f"^No such image: {image} ") as caught:
            await containers.executor.prepare(version(containers, image, auth))
        assert PASSWORD not in str(caught.value)
    assert await said(containers, version(containers, image, AUTH)) == "one"


async def test_a_tag_that_moved_is_pulled_again(containers: Bench, registry: Registry, name: str):
    """Each new task runs what the tag means by then."""
    image = f"{registry.address}/{name}:1"
    for text in ("one", "two"):
        registry.push(f"{name}:1", text)
        assert await said(containers, version(containers, image)) == text


async def test_a_digest_is_what_runs(containers: Bench, registry: Registry, name: str):
    """Whatever the tag before it means by now; once it is here no registry is asked."""
    digest = registry.push(f"{name}:1", "one")
    registry.push(f"{name}:1", "two")
    image = f"{registry.address}/{name}:1@{digest}"
    assert await said(containers, version(containers, image)) == "one"
    registry.up = False
    try:
        assert await said(containers, version(containers, image)) == "one"
    finally:
        registry.up = True
    assert registry.asked.count(f"{name}:1") == 0


async def test_an_image_that_is_here_runs_without_its_registry(
    containers: Bench, registry: Registry, name: str
):
    """As Docker: what could not be pulled is a loss only where there is no image."""
    registry.push(f"{name}:1", "one")
    image = f"{registry.address}/{name}:1"
    assert await said(containers, version(containers, image)) == "one"
    registry.up = False
    try:
        assert await said(containers, version(containers, image)) == "one"
        with pytest.raises(TaskError, match=r"^No such image: "):
            await containers.executor.prepare(version(containers, f"{registry.address}/{name}:2"))
    finally:
        registry.up = True


async def test_tasks_that_start_together_pull_once(
    containers: Bench, registry: Registry, name: str
):
    """However many there are, the registry is asked for an image once."""
    registry.push(f"{name}:1", "one")
    works = [version(containers, f"{registry.address}/{name}:1") for _ in range(5)]
    await asyncio.gather(*(containers.executor.prepare(work) for work in works))
    assert registry.asked.count(f"{name}:1") <= 2  # Docker asks HEAD, then GET
