"""What the store refuses, in Docker's words. Raised by ``Store.commit``; the API maps them."""

# ruff: noqa: N818 - they are named as the answers they become

from __future__ import annotations

from swarmops.errors import CannotApply, SwarmopsError


class StoreError(SwarmopsError):
    """Base of the store's refusals: the transaction, or this action of it, changed nothing."""


class WrittenByNewer(CannotApply):
    """What was written under rules that this release doesn't know; its replica would go astray."""

    def __init__(self, rules: int, known: int) -> None:
        super().__init__(
            "the swarm's log was written by a newer release than this manager runs "
            f"(rules {rules}, known here: {known}): install that release here"
        )


class OutOfSequence(StoreError):
    """The object was changed since the version that the update names."""

    def __init__(self) -> None:
        super().__init__("update out of sequence")


class NameConflict(StoreError):
    """Another object of the table has this name (case doesn't count)."""

    def __init__(self, kind: str, name: str) -> None:
        texts = {
            "service": "name conflicts with an existing object: service {} already exists",
            "network": "network with name {} already exists",
        }
        super().__init__(texts.get(kind, kind + " {} already exists").format(name))
        self.name = name


class PortConflict(StoreError):
    """Another service publishes one of the service's ports; the text is Docker's."""


class SubnetConflict(StoreError):
    """Another network has one of the network's subnets; the text is Docker's."""


class FileInUse(StoreError):
    """A service names the secret or config that shall go; the text is Docker's."""


class NetworkInUse(StoreError):
    """A service needs the network that shall go; the text is Docker's."""


class ReferenceMissing(StoreError):
    """A service names a secret, a config or a network that is gone."""


class IngressMissing(StoreError):
    """A service publishes ports and the network for them is gone."""

    def __init__(self) -> None:
        super().__init__("service needs ingress network, but no ingress network is present")


class IngressPresent(StoreError):
    """The swarm has its one network of published ports already."""

    def __init__(self, network_id: str) -> None:
        super().__init__(f"ingress network ({network_id}) is already present")


class PoolsFull(StoreError):
    """No subnet is left for a network that names none."""

    def __init__(self) -> None:
        super().__init__(
            "could not find an available, non-overlapping IPv4 address pool among the defaults "
            "to assign to the network"
        )


class AlreadyExists(StoreError):
    """An object with this ID is there already."""

    def __init__(self, kind: str, object_id: str) -> None:
        super().__init__(f"{kind} {object_id} already exists")


class NotFound(StoreError):
    """No object has this ID."""

    def __init__(self, kind: str, object_id: str) -> None:
        super().__init__(f"{kind} {object_id} not found")


class WentBackwards(StoreError):
    """A task's observed or desired state would go back, or it would move to another node."""

    def __init__(self, task_id: str, reason: str) -> None:
        super().__init__(f"task {task_id} only goes forward: {reason}")


class TooLarge(StoreError):
    """The transaction would not fit into one log entry."""

    def __init__(self) -> None:
        super().__init__("raft: raft message is too large and can't be sent")


class Fenced(StoreError):
    """The control loop that wrote this belongs to a manager that leads no more."""

    def __init__(self) -> None:
        super().__init__("another manager has taken the lead: this write came too late")
