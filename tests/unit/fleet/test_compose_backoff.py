"""The playbook's restart backoff becomes the labels that the swarm reads."""

from __future__ import annotations

import pytest

from swarmops.errors import InputError
from swarmops.fleet.compose import read_service
from swarmops.fleet.document import parse_document
from swarmops.fleet.entry import Entry
from swarmops.model.service import ServiceSpec

FACTOR = "swarmops.restart.backoff"
MOST = "swarmops.restart.backoff-max"


def spec(deploy: str) -> ServiceSpec:
    """Return the spec of a service with this ``deploy`` section."""
    text = f"image: i\ndeploy: {deploy}"
    return read_service("web", Entry.top(parse_document(text, "p.yml")))[0]


@pytest.mark.parametrize(
    ("deploy", "labels"),
    [
        ("{restart_policy: {backoff: {factor: 1.5, max: 1m30s}}}", {FACTOR: "1.5", MOST: "90s"}),
        ("{restart_policy: {backoff: {}}}", {FACTOR: "2"}),
        ("{restart_policy: {backoff: {max: 500ms}}}", {FACTOR: "2", MOST: "500000000ns"}),
        ("{restart_policy: {backoff: {factor: 3}}, labels: {a: b}}", {FACTOR: "3", "a": "b"}),
    ],
)
def test_backoff_becomes_labels(deploy: str, labels: dict[str, str]):
    """The restart policy itself stays Docker's."""
    assert spec(deploy).labels == labels


@pytest.mark.parametrize(
    ("backoff", "reason"),
    [
        ("{factor: 0.5}", "from 1 to 100"),
        ("{max: soon}", "a duration like"),
        ("{cap: 1m}", "unknown key"),
    ],
)
def test_a_backoff_that_means_nothing_is_refused(backoff: str, reason: str):
    """With its place in the file."""
    with pytest.raises(InputError, match=rf"p\.yml:2: .*{reason}"):
        spec(f"{{restart_policy: {{backoff: {backoff}}}}}")
