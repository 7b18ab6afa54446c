"""What ``docker login`` got on this machine: found by the image's registry, or one sentence."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from swarmops.errors import InputError
from swarmops.fleet.registry_login import registry_auth

ANN = base64.b64encode(b"ann:secret").decode()
HUB = "https://index.docker.io/v1/"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be a user whose docker client keeps its files here, and has no helper."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def logged_in(folder: Path, **config: Any) -> None:
    """Write the client's file."""
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("image", "known"),
    [
        ("registry.example.com/shop/web:1", True),
        ("registry.example.com/shop/web@sha256:" + "0" * 64, True),
        ("other.example.com/web", False),
        ("nginx:1.27", False),
        ("host", False),
        ("", False),
    ],
)
def test_the_registry_of_an_image_is_shown_its_own_login(
    folder: Path, image: str, *, known: bool
) -> None:
    """No other registry is, and a plain process has none."""
    logged_in(folder, auths={"registry.example.com": {"auth": ANN}})
    shown = registry_auth(image)
    if not known:
        assert not shown
        return
    said = {key.lower(): value for key, value in json.loads(base64.b64decode(shown)).items()}
    assert (said["username"], said["password"]) == ("ann", "secret")


def test_docker_hub_is_the_registry_of_a_bare_name(folder: Path) -> None:
    """As everywhere in Docker."""
    logged_in(folder, auths={HUB: {"auth": ANN}})
    assert registry_auth("ann/web")
    assert not registry_auth("registry.example.com/ann/web")


def test_nobody_who_never_logged_in_shows_anything() -> None:
    """Without a file there is nothing to hand over."""
    assert registry_auth("registry.example.com/web") == ""


def test_a_helper_is_asked(folder: Path) -> None:
    """By Docker's protocol: the registry on its input, JSON on its output."""
    helper = folder / "docker-credential-box"
    said = json.dumps({"ServerURL": "r", "Username": "ann", "Secret": "secret"})
    helper.write_text(f"#!/bin/sh\necho '{said}'\n")
    helper.chmod(0o755)
    logged_in(folder, credHelpers={"registry.example.com": "box"})
    shown = json.loads(base64.b64decode(registry_auth("registry.example.com/web")))
    assert (shown["Username"], shown["Password"]) == ("ann", "secret")


@pytest.mark.parametrize(
    "config",
    [
        {"credsStore": "gone"},
        {"auths": {"registry.example.com": {"auth": "?"}}},
        {"auths": {"registry.example.com": 1}},
        [],
    ],
    ids=["no such helper", "no base64", "no entry", "no mapping"],
)
def test_what_cannot_be_read_is_one_sentence(folder: Path, config: object) -> None:
    """With the image, and where to look."""
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        InputError, match=r"for registry\.example\.com/web can't be .* log in again"
    ):
        registry_auth("registry.example.com/web")
