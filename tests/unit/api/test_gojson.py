"""Bodies are read as Go reads them, whatever the client's habits."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarmops.api.body import decode
from swarmops.errors import ApiError
from swarmops.model.service import ServiceSpec


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ({"mode": {"replicated": {"REPLICAS": 3}}}, {"Mode": {"Replicated": {"Replicas": 3}}}),
        ({"Mode": {"global": {}}}, {"Mode": {"Global": {}}}),
        ({"name": None, "Labels": None, "EndpointSpec": None}, {}),
        (
            {"labels": {"MixedCase": "x"}},
            {"Labels": {"MixedCase": "x"}},
        ),
        (
            {"TaskTemplate": {"ContainerSpec": {"secrets": [{"secretid": "i", "file": None}]}}},
            {"TaskTemplate": {"ContainerSpec": {"Secrets": [{"SecretID": "i", "SecretName": ""}]}}},
        ),
        (
            {"TaskTemplate": {"ContainerSpec": {"Privileges": {"SELinuxContext": None}}}},
            {"TaskTemplate": {"ContainerSpec": {"Privileges": {"SELinuxContext": None}}}},
        ),
        ({"FutureField": {"x": 1}}, {}),
    ],
)
def test_case_nulls_and_unknown_fields(sent: Any, meant: Any):
    """Names fit in any case, null is absent, unknown fields are ignored, maps keep their keys."""
    assert msgspec.to_builtins(decode(msgspec.json.encode(sent), ServiceSpec)) == meant


@pytest.mark.parametrize(
    ("sent", "number", "path", "kind"),
    [
        ({"Mode": {"Replicated": {"Replicas": -1}}}, -1, "Mode.Replicated.Replicas", "uint64"),
        ({"TaskTemplate": {"ForceUpdate": -2}}, -2, "TaskTemplate.ForceUpdate", "uint64"),
        ({"UpdateConfig": {"Parallelism": -1}}, -1, "UpdateConfig.Parallelism", "uint64"),
        (
            {
                "TaskTemplate": {
                    "ContainerSpec": {"Mounts": [{}, {"TmpfsOptions": {"Mode": 1 << 32}}]}
                }
            },
            1 << 32,
            "TaskTemplate.ContainerSpec.Mounts[1].TmpfsOptions.Mode",
            "uint32",
        ),
    ],
    ids=["replicas", "force-update", "parallelism", "mode"],
)
def test_a_number_out_of_its_range_is_refused(sent: Any, number: int, path: str, kind: str):
    """Where the engine has an unsigned one, or one of 32 bits."""
    with pytest.raises(ApiError) as refused:
        decode(msgspec.json.encode(sent), ServiceSpec)
    field = f"Go struct field ServiceSpec.{path} of type {kind}"
    expected = (400, f"json: cannot unmarshal number {number} into {field}")
    assert (refused.value.status, refused.value.message) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Name", "mode", "Replicated", "TaskTemplate", "ContainerSpec", "Env", "Image", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


def read(raw: bytes) -> ServiceSpec | int:
    """Return the spec, or the status of the refusal."""
    try:
        return decode(raw, ServiceSpec)
    except ApiError as error:
        return error.status


@given(JSON)
@settings(max_examples=200, deadline=None)
def test_any_json_is_decoded_or_refused_with_400(value: Any):
    """No body, however odd, is an internal error; and what is decoded fits the store's wire."""
    outcome = read(msgspec.json.encode(value))
    assert outcome == 400 or msgspec.msgpack.encode(outcome)


@given(st.binary(max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_decoded_or_refused_with_400(raw: bytes):
    """Neither is anything that is no JSON."""
    outcome = read(raw)
    assert outcome == 400 or isinstance(outcome, ServiceSpec)
