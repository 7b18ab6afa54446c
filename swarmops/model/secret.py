"""Secrets and configs: small files that tasks get, by reference."""

from __future__ import annotations

from msgspec import UNSET

from swarmops.model.base import Labels, Model, Opt, concealed
from swarmops.model.object import Object
from swarmops.model.service import Driver


class SecretSpec(Model, frozen=True):
    """A secret; ``data`` is base64 and never served."""

    name: str | Opt = UNSET
    labels: Labels | Opt | None = UNSET
    data: str | Opt = UNSET
    driver: Driver | Opt | None = UNSET
    templating: Driver | Opt | None = UNSET

    def __repr__(self) -> str:
        return concealed(self, "data")


class Secret(Object, frozen=True):
    """A secret as stored."""

    spec: SecretSpec = SecretSpec()


class ConfigSpec(Model, frozen=True):
    """A config; ``data`` is base64."""

    name: str | Opt = UNSET
    labels: Labels | Opt | None = UNSET
    data: str | Opt = UNSET
    templating: Driver | Opt | None = UNSET


class Config(Object, frozen=True):
    """A config as stored."""

    spec: ConfigSpec = ConfigSpec()
