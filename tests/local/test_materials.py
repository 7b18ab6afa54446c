"""Secrets, configs and networks that a playbook keeps: made, followed by services, replaced."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.local.conftest import Local, wait_for

READ = 'cat "$SWARMOPS_SECRETS_DIR/token" "$SWARMOPS_CONFIGS_DIR/page"; exec sleep 1000'


def play(local: Local, replicas: int = 1, **more: Any) -> None:
    """Write the demo's playbook with a service that prints its secret and its config."""
    playbook = {
        "swarm": {"name": "demo", "managers": 3},
        "secrets": {"token": {"file": "files/token"}},
        "configs": {"page": {"template": "files/page.j2", "labels": {"team": "web"}}},
        "networks": {"back": {"internal": True, "labels": {"a": "b"}}},
        "services": {
            "reader": {
                "image": "host",
                "command": ["sh", "-c", READ],
                "secrets": ["token"],
                "configs": [{"source": "page", "target": "page"}],
                "deploy": {"replicas": replicas},
            }
        },
    }
    local.playbook.write_text(json.dumps(playbook | more))


def names(local: Local, kind: str) -> list[str]:
    """Return the names of what the swarm has of a kind."""
    return sorted(local.docker("node1", kind, "ls", "--format", "{{.Name}}").stdout.split())


def said(local: Local, service: str = "reader") -> str:
    """Return what a service has printed."""
    return local.swarmops("service", "logs", service).stdout


def files(local: Local) -> Path:
    """Return the folder of the content, made if missing."""
    folder = local.playbook.parent / "files"
    folder.mkdir(exist_ok=True)
    return folder


def test_a_playbooks_secrets_and_configs_reach_its_service(local: Local):
    """From a file and from a template; nothing is left to do; the plan never shows a secret."""
    (files(local) / "token").write_text("sesame-one\n")
    (files(local) / "page.j2").write_text("for {{ groups['all'] | length }} hosts\n")
    play(local)
    planned = local.swarmops("plan", str(local.inventory), expect=2)
    assert "token.v1" in planned.stdout
    local.swarmops("apply", str(local.inventory))
    wait_for(lambda: "sesame-one" in said(local), "the secret")
    assert "for 5 hosts" in said(local)
    assert (names(local, "secret"), names(local, "config")) == (["token.v1"], ["page.v1"])
    network = json.loads(local.docker("node1", "network", "inspect", "back").stdout)[0]
    assert (network["Internal"], network["Labels"]) == (True, {"a": "b"})
    local.swarmops("plan", str(local.inventory))


def test_a_changed_secret_is_a_new_version_and_the_old_one_goes(local: Local):
    """The service is updated to it, and after the same apply nothing is left to do."""
    (files(local) / "token").write_text("sesame-two\n")
    done = local.swarmops("apply", str(local.inventory))
    assert "token.v2" in done.stderr
    assert "sesame" not in done.stdout + done.stderr
    wait_for(lambda: "sesame-two" in said(local), "the new secret")
    assert names(local, "secret") == ["token.v2"]
    assert names(local, "config") == ["page.v1"]
    local.swarmops("plan", str(local.inventory))


def test_content_comes_from_a_command_or_a_variable_too(local: Local):
    """What the command prints, without its last newline; a failing one changes nothing."""
    play(local, secrets={"token": {"command": ["printf", "sesame-three\\n"]}})
    local.swarmops("apply", str(local.inventory))
    wait_for(lambda: "sesame-three" in said(local), "the secret of the command")
    play(local, secrets={"token": {"command": ["sh", "-c", "echo no vault >&2; exit 3"]}})
    refused = local.swarmops("apply", str(local.inventory), expect=1)
    assert "secrets.token.command: sh exited with 3: no vault" in refused.stderr
    play(local, secrets={"token": {"environment": "NO_SUCH_VARIABLE"}})
    refused = local.swarmops("apply", str(local.inventory), expect=1)
    assert "the environment variable NO_SUCH_VARIABLE is not set" in refused.stderr
    assert names(local, "secret") == ["token.v3"]


def test_a_network_that_is_otherwise_is_told_and_left_alone(local: Local):
    """No network can be changed: the plan says what differs and what to do."""
    play(
        local,
        secrets={"token": {"command": ["printf", "sesame-three\\n"]}},
        networks={"back": {"internal": False}},
    )
    told = local.swarmops("plan", str(local.inventory), expect=3)
    assert "its internal is True, and the playbook wants False" in told.stderr


def test_a_compose_file_is_a_stack_that_dockers_commands_know(local: Local):
    """Services, network and secret under the stack's name; again there is nothing to do."""
    compose = {
        "services": {
            "api": {
                "image": "host",
                "command": ["sh", "-c", 'cat "$$SWARMOPS_SECRETS_DIR/key"; exec sleep 1000'],
                "environment": {"LEVEL": "${LEVEL:-info}"},
                "secrets": ["key"],
                "networks": ["back"],
            }
        },
        "networks": {"back": {}},
        "secrets": {"key": {"file": "./files/key"}},
    }
    (files(local) / "key").write_text("sesame-stack\n")
    (local.playbook.parent / "shop.yml").write_text(json.dumps(compose))
    local.playbook.write_text(
        json.dumps({"swarm": {"name": "demo", "managers": 3}, "stacks": {"shop": "shop.yml"}})
    )
    local.swarmops("apply", str(local.inventory))
    local.swarmops("plan", str(local.inventory))
    form = ("--format", "{{.Name}} {{.Services}}")
    assert local.docker("node1", "stack", "ls", *form).stdout.split() == ["shop", "1"]
    listed = local.docker("node1", "stack", "services", "shop", "--format", "{{.Name}}").stdout
    assert listed.split() == ["shop_api"]
    assert "shop_key.v1" in names(local, "secret")

    wait_for(lambda: "sesame-stack" in said(local, "shop_api"), "the secret of the stack")
    local.docker("node1", "stack", "rm", "shop")
    assert names(local, "network") == ["back", "ingress"]


def test_hooks_run_when_there_is_something_to_do_and_only_then(local: Local):
    """Before the first step and after the last; a failing one before stops everything."""
    said = local.playbook.parent / "said"
    hooks = {
        when: [{"command": ["sh", "-c", f"echo {when} >> said"]}] for when in ("before", "after")
    }
    token = {"token": {"command": ["printf", "sesame-four\\n"]}}
    play(local, secrets=token, hooks=hooks)
    local.swarmops("apply", str(local.inventory))
    assert said.read_text().split() == ["before", "after"]
    local.swarmops("apply", str(local.inventory))
    assert said.read_text().split() == ["before", "after"]
    play(local, 2, secrets=token, hooks={"before": [{"command": "false"}]})
    refused = local.swarmops("apply", str(local.inventory), expect=1)
    assert "hook 1 of before failed on this machine" in refused.stderr
    assert {task["name"].removeprefix(" \\_ ") for task in local.tasks("reader")} == {"reader.1"}
