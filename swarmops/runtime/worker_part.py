"""The part of a node that every node has: the agent with its executors, and the ingress beside it.

Made by the daemon once the node is in a swarm; knows nothing of managers but how to be dialled.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path

import structlog

from swarmops.agent.agent import Agent
from swarmops.agent.describe import Describe
from swarmops.agent.executors import ExecutorContext, load_executors
from swarmops.agent.ingress.keeper import Keeper
from swarmops.agent.vault import KEY_FILE, KeyFile
from swarmops.errors import SwarmopsError
from swarmops.model.node import TLSInfo
from swarmops.model.session import Channel, NodeChanged, Welcome
from swarmops.runtime.background import Background
from swarmops.runtime.dial import split_address
from swarmops.runtime.state import NodeState

log = structlog.get_logger(__name__)


class WorkerPart:
    """The tasks of one node and what keeps them; ``say`` hears why the agent ended by itself."""

    def __init__(
        self,
        state: NodeState,
        *,
        folder: Path,
        machine_file: Path,
        docker_socket: Path,
        hostname: str,
        tls_info: Callable[[], TLSInfo],
        sealing_key: Callable[[], bytes | None],
        dial: Callable[[], Awaitable[Channel]],
        on_node: Callable[[Welcome | NodeChanged], None],
        say: Callable[[str], None],
        now: Callable[[], datetime],
        rng: random.Random,
    ) -> None:
        self._say = say
        executors = load_executors(
            ExecutorContext(
                node_id=state.node_id, data_dir=folder, docker_host=f"unix://{docker_socket}"
            )
        )
        self._ingress = Keeper(
            folder,
            host=split_address(state.listen_addr)[0],
            node_id=state.node_id,
            say=self._complain,
        )
        self.agent = Agent(
            node_id=state.node_id,
            dial=dial,
            data_dir=folder,
            executors=executors,
            describe=Describe(
                hostname=hostname, executors=executors, file=machine_file, tls_info=tls_info
            ),
            node_addr=split_address(state.advertise_addr)[0],
            on_node=on_node,
            on_ingress=self._ingress.take,
            sealer=KeyFile(folder / KEY_FILE, sealing_key),
            now=now,
            rng=rng,
        )

    def start(self, background: Background) -> None:
        """Start it: its tasks first, then a session with a manager."""
        background.spawn(self._run())
        background.spawn(self._ingress.run())

    async def stop(self, back_within_s: float) -> None:
        """Close the session; tasks and published ports go on (see ``Daemon.stop``)."""
        await self.agent.stop(back_within_s)
        await self.agent.close()

    async def remove(self) -> None:
        """Stop and remove the tasks and the ingress, and let go of the rest."""
        await self._ingress.end()
        await self.agent.remove_tasks()
        await self.agent.stop()
        await self.agent.close()

    async def _run(self) -> None:
        try:
            await self.agent.run()
        except SwarmopsError as exc:
            self._say(str(exc))
            log.error("the agent stopped", reason=str(exc))  # noqa: TRY400 - one sentence is all

    def _complain(self, text: str) -> None:
        self.agent.complain(text)
