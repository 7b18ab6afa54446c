"""Every model, filled with whatever its types allow, survives the API's wire and the log's."""

from __future__ import annotations

import enum
import importlib
import pkgutil
import types
import typing
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import swarmops.model
from swarmops.model.base import Model, Uint, Uint32

for _found in pkgutil.iter_modules(swarmops.model.__path__):
    importlib.import_module(f"swarmops.model.{_found.name}")


def below(model: type[Any]) -> list[type[Any]]:
    """All classes made from a class."""
    return [one for sub in model.__subclasses__() for one in (sub, *below(sub))]


MODELS = sorted(
    {one for one in below(Model) if one.__module__.startswith("swarmops.model.")},
    key=lambda model: model.__qualname__,
)
TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
PLAIN: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXT,
    int: st.integers(-(2**63), 2**63 - 1),
    Uint: st.integers(0, 2**63 - 1),
    Uint32: st.integers(0, 2**32 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    bool: st.booleans(),
    type(None): st.none(),
    msgspec.UnsetType: st.just(msgspec.UNSET),
    object: st.one_of(TEXT, st.integers(0, 9), st.lists(TEXT, max_size=2)),
    datetime: st.datetimes(datetime(1, 1, 2), datetime(9999, 1, 1)).map(  # noqa: DTZ001 - given below
        lambda time: time.replace(tzinfo=UTC)
    ),
}


def values(kind: Any, depth: int) -> st.SearchStrategy[Any]:
    """What a type allows; deep inside, as little as it does."""
    if kind in PLAIN:
        return PLAIN[kind]
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        small = [one for one in inner if one in (msgspec.UnsetType, type(None))]
        return st.one_of([values(one, depth) for one in (small if small and depth <= 0 else inner)])
    if origin is typing.Literal or isinstance(kind, enum.EnumType):
        return st.sampled_from(inner or list(kind))
    if origin is list:
        return st.lists(values(inner[0], depth - 1), max_size=2 if depth > 0 else 0)
    if origin is dict:
        pairs = values(inner[0], depth), values(inner[1], depth - 1)
        return st.dictionaries(*pairs, max_size=2 if depth > 0 else 0)
    return instances(kind, depth - 1)


def instances(model: type[Any], depth: int) -> st.SearchStrategy[Any]:
    """Objects of a model."""
    hints = typing.get_type_hints(model, include_extras=True)
    fields = msgspec.structs.fields(model)
    return st.builds(model, **{field.name: values(hints[field.name], depth) for field in fields})


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model.__name__))
def test_what_is_written_is_read_back_the_same(model: type[Any]):
    """As JSON, as msgpack, and once more from what was read."""

    @settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
    @given(instances(model, 3))
    def check(value: Any) -> None:
        text = msgspec.json.encode(value)
        assert msgspec.json.decode(text, type=model) == value
        assert msgspec.json.encode(msgspec.json.decode(text, type=model)) == text
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(value), type=model) == value

    check()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: str(model.__name__))
def test_any_json_is_this_model_or_refused(model: type[Any]):
    """Never anything but a ValidationError, with the field's path."""
    odd = st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner)),
        max_leaves=5,
    )
    names = [field.encode_name for field in msgspec.structs.fields(model)]

    @settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.dictionaries(st.sampled_from([*names, "Unknown"]), odd, max_size=4))
    def check(value: dict[str, Any]) -> None:
        try:
            decoded = msgspec.json.decode(msgspec.json.encode(value), type=model)
        except msgspec.ValidationError as error:
            assert "`$" in str(error) or "missing required field" in str(error)  # noqa: PT017 - the promise
        else:
            assert isinstance(decoded, model)

    check()
