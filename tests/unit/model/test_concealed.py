"""What is secret shows in no ``repr``: not in a log, an error or a crash report that prints it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from swarmops.model.node import TLSInfo
from swarmops.model.secret import Config, Secret, SecretSpec
from swarmops.model.session import Assignments
from swarmops.model.swarm import (
    CAConfig,
    Cluster,
    ClusterInternal,
    JoinTokens,
    RootRotation,
    SwarmSpec,
)
from swarmops.pki.wire import CertificateRequest
from tests.unit.model.test_every_model import MODELS

HIDDEN = "hunter2"
SECRET_NAMES = re.compile(r"(ca|unlock|private)_key$|token$|^data$|auths?$")
PUBLIC = {"ConfigSpec": {"data"}, "TLSInfo": {"cert_issuer_public_key"}}
CARRIERS: list[type[Any]] = [*MODELS, Assignments, CertificateRequest]
FIELDS = [
    pytest.param(model, field.name, id=f"{model.__name__}.{field.name}")
    for model in CARRIERS
    for field in msgspec.structs.fields(model)
    if SECRET_NAMES.search(field.name) and field.name not in PUBLIC.get(model.__name__, ())
]
_ROTATION = RootRotation(ca_cert="PEM", ca_key=HIDDEN, cross_cert="PEM", tls_info=TLSInfo())
_INTERNAL = ClusterInternal(
    ca_key=HIDDEN,
    unlock_key=HIDDEN,
    rotation=_ROTATION,
    join_tokens=JoinTokens(worker=HIDDEN, manager=HIDDEN),
)
NESTED = [
    Cluster(
        id="c",
        spec=SwarmSpec(ca_config=CAConfig(signing_ca_key=HIDDEN)),
        join_tokens=JoinTokens(worker=HIDDEN, manager=HIDDEN),
        internal=_INTERNAL,
    ),
    Assignments(
        complete=True,
        tasks=[],
        removed=[],
        secrets=[Secret(id="s", spec=SecretSpec(name="pw", data=HIDDEN))],
        configs=[Config(id="c")],
        dropped_dependencies=[],
        registry_auths={"t": HIDDEN},
    ),
]


@pytest.mark.parametrize(("model", "field"), FIELDS)
def test_a_field_that_is_named_as_a_secret_is_not_shown(model: type[Any], field: str):
    """Whichever model has it, one that is added later too."""
    others = {
        each.name: "x"
        for each in msgspec.structs.fields(model)
        if each.required and each.name != field
    }
    assert HIDDEN not in repr(model(**others, **{field: HIDDEN}))


@pytest.mark.parametrize("whole", NESTED, ids=lambda whole: type(whole).__name__)
def test_nor_is_it_deep_inside(whole: object):
    """A locked swarm in the midst of a rotation of its root; a frame to an agent."""
    assert HIDDEN not in repr(whole)


def test_the_rest_is():
    """Else nobody would know what was printed."""
    assert "ca_cert='PEM'" in repr(_ROTATION)
    assert "api_port=0" in repr(_INTERNAL)
