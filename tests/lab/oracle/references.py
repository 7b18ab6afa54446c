"""Scenarios: secrets and configs, in services and on their own."""

import json
from typing import Any

from tests.lab.oracle.case import Case
from tests.lab.oracle.table import scenario


def _make(case: Case, kind: str, data: str, suffix: str = "") -> str:
    """Create a secret or config; return its name."""
    name = case.keep(kind, case.name(suffix or kind))
    case.docker(kind, "create", name, "-", stdin=data)
    return name


def _spec(case: Case, kind: str, name: str) -> dict[str, Any]:
    """Return a secret or config as `inspect` shows it."""
    found: list[dict[str, Any]] = json.loads(case.docker(kind, "inspect", name))
    return found[0]


@scenario
def secret_in_a_service(case: Case) -> None:
    """A secret is a file in memory below /run/secrets, with the name, owner and mode asked for."""
    name = _make(case, "secret", "hush")
    script = (
        f"cd /run/secrets; cat {name}; echo; stat -c '%u:%g %a' {name} other;"
        " grep -c ' /run/secrets/.*tmpfs' /proc/mounts"
    )
    other = _make(case, "secret", "more", "other")
    web = case.create(
        *("--secret", name, "--restart-condition", "none"),
        *("--secret", f"source={other},target=other,uid=65534,gid=65534,mode=0400"),
        command=("sh", "-c", script),
    )
    case.reach(web, "complete")
    assert case.printed(web, 4) == ["hush", "0:0 444", "65534:65534 400", "2"]


@scenario
def secret_twice(case: Case) -> None:
    """One secret under two names, each with an owner of its own.

    The CLI puts the two into the spec in an order of its own, another each time.
    """
    name = _make(case, "secret", "hush")
    web = case.create(
        *("--secret", f"source={name},target=a,uid=1,gid=1,mode=0444"),
        *("--secret", f"source={name},target=b,uid=2,gid=2,mode=0440"),
        *("--restart-condition", "none"),
        command=("sh", "-c", "cd /run/secrets; stat -c '%n %u %a' a b"),
    )
    case.reach(web, "complete")
    last = case.inspect(web)["Spec"]["TaskTemplate"]["ContainerSpec"]["Secrets"][-1]["File"]
    shared = "1 444" if last["Name"] == "a" else "2 440"
    wanted = case.by_side(
        ours=["a 1 444", "b 2 440"], docker=[f"a {shared}", f"b {shared}"], because="Secrets"
    )
    assert case.printed(web, 2) == wanted


@scenario
def config_in_a_service(case: Case) -> None:
    """A config is a file at the path asked for, at the root by default, and may be a template."""
    name, other = _make(case, "config", "plain"), _make(case, "config", "below", "other")
    filled = case.keep("config", case.name("filled"))
    case.docker(
        *("config", "create", "--template-driver", "golang", filled, "-"),
        stdin='{{.Service.Name}} {{env "WHO"}}',
    )
    deep = "/etc/deep/er.conf"
    script = f"cat /{name}; echo; cat {deep}; echo; stat -c '%u:%g %a' {deep}; cat /filled; echo"
    web = case.create(
        *("--config", name, "--config", f"source={other},target={deep},mode=0440"),
        *("--config", f"source={filled},target=/filled", "--env", "WHO=me"),
        *("--restart-condition", "none"),
        command=("sh", "-c", script),
    )
    case.reach(web, "complete")
    assert case.printed(web, 4) == ["plain", "below", "0:0 440", f"{web} me"]


@scenario
def secret_rotation(case: Case) -> None:
    """A new secret takes an old one's place in the service under the same file name."""
    old, new = _make(case, "secret", "first", "v1"), _make(case, "secret", "second", "v2")
    web = case.create(
        *("--secret", f"source={old},target=key", "--restart-condition", "none"),
        *("--update-monitor", "100ms"),
        command=("sh", "-c", "cat /run/secrets/key; echo"),
    )
    case.reach(web, "complete")
    case.update(web, "--secret-rm", old, "--secret-add", f"source={new},target=key")
    assert sorted(case.printed(web, 2)) == ["first", "second"]
    case.until(lambda: case.run("secret", "rm", old).rc == 0, "the old secret removed")


@scenario
def secret_in_use(case: Case) -> None:
    """A secret or config that a service uses can't be removed."""
    for kind in ("secret", "config"):
        name = _make(case, kind, "x")
        web = case.create("--replicas", "0", f"--{kind}", name, suffix=f"{kind}-user")
        refused = case.refused(kind, "rm", name)
        assert refused.rc == 1
        assert refused.said.endswith(
            f"InvalidArgument desc = {kind} '{name}' is in use by the following service: {web}"
        )


@scenario
def secret_that_exists(case: Case) -> None:
    """Names of secrets and configs are unique."""
    for kind in ("secret", "config"):
        name = _make(case, kind, "x")
        refused = case.refused(kind, "create", name, "-", stdin="y")
        said = f"rpc error: code = AlreadyExists desc = {kind} {name} already exists"
        assert refused == (1, f"Error response from daemon: {said}")


@scenario
def secret_that_is_missing(case: Case) -> None:
    """A service can't use what isn't there; nothing that isn't there is inspected or removed."""
    for kind in ("secret", "config"):
        refused = case.create_refused(f"--{kind}", "nothing-like-it")
        assert refused == (1, f"{kind} not found: nothing-like-it")
        refused = case.refused(kind, "rm", "nothing-like-it")
        assert refused.rc == 1
        assert refused.said.endswith(f"{kind} nothing-like-it not found")


@scenario
def secret_sizes(case: Case) -> None:
    """A secret has between 1 byte and 500 kB, a config up to 1000 kB."""
    for kind, limit in (("secret", 512_000), ("config", 1_024_000)):
        said = f"{kind} data must be larger than 0 and less than {limit} bytes"
        refused = case.refused(kind, "create", case.name("big"), "-", stdin="x" * limit)
        assert refused.said.endswith(f"code = InvalidArgument desc = {said}")
        nothing = {"Name": case.name("none"), "Data": ""}
        status, answer = case.side.api("POST", f"/{kind}s/create", nothing)
        assert (status, answer["message"].endswith(said)) == (400, True)
        most = case.keep(kind, case.name("most"))
        case.docker(kind, "create", most, "-", stdin="x" * (limit - 1))


@scenario
def secret_names(case: Case) -> None:
    """Names of secrets and configs have letters, digits and `-_.`, 64 at most."""
    for kind in ("secret", "config"):
        for name in ("-a", "a/b", "x" * 65):
            refused = case.refused(kind, "create", "--", name, "-", stdin="x")
            assert refused.rc == 1
            assert "invalid name, only 64 [a-zA-Z0-9-_.] characters allowed" in refused.said


@scenario
def secret_updates(case: Case) -> None:
    """Labels of a secret may change, its data may not."""
    name = _make(case, "secret", "x")
    found = _spec(case, "secret", name)
    assert "Data" not in found["Spec"]
    path = f"/secrets/{found['ID']}/update?version={found['Version']['Index']}"
    changed = found["Spec"] | {"Labels": {"a": "b"}}
    assert case.side.api("POST", path, changed)[0] == 200
    found = _spec(case, "secret", name)
    assert found["Spec"]["Labels"] == {"a": "b"}
    path = f"/secrets/{found['ID']}/update?version={found['Version']['Index']}"
    status, said = case.side.api("POST", path, found["Spec"] | {"Data": "eHg="})
    assert status == 400
    assert said["message"].endswith("only updates to Labels are allowed")


@scenario
def config_shows_its_data(case: Case) -> None:
    """`config inspect` shows the data, `secret inspect` never; both filter by name and label."""
    config = case.keep("config", case.name("config"))
    case.docker("config", "create", "--label", f"for={case.prefix}", config, "-", stdin="hello")
    assert _spec(case, "config", config)["Spec"]["Data"] == "aGVsbG8="
    assert "hello" in case.docker("config", "inspect", "--pretty", config)
    for chosen in (f"label=for={case.prefix}", f"name={config}"):
        words = ("--filter", chosen, "--format", "{{.Name}}")
        assert case.docker("config", "ls", *words) == config


@scenario
def targets_refused(case: Case) -> None:
    """A secret or config has a file of its own in the service, or is its runtime's."""

    def refused(**container: object) -> tuple[int, str]:
        body = {
            "Name": case.keep("service", case.name("refused")),
            "TaskTemplate": {"ContainerSpec": {"Image": "busybox:1"} | container},
            "Mode": {"Replicated": {"Replicas": 0}},
        }
        status, said = case.side.api("POST", "/services/create", body)
        return status, said["message"].removeprefix("rpc error: code = InvalidArgument desc = ")

    for kind in ("secret", "config"):
        name, title = _make(case, kind, "x"), kind.capitalize()
        one = {f"{title}ID": _spec(case, kind, name)["ID"], f"{title}Name": name}
        listed = f"{title}s"
        assert refused(**{listed: [one | {"File": {"Name": ""}}]}) == (
            400,
            f"malformed file {kind} reference, invalid target file name provided",
        )
        assert refused(**{listed: [one | {"File": {"Name": "x"}}] * 2}) == (
            400,
            f"{kind} references '{name}' and '{name}' have a conflicting target: 'x'",
        )
    both = one | {"File": {"Name": "x"}, "Runtime": {}}
    assert refused(Configs=[both]) == (400, "invalid Config: cannot specify both File and Runtime")
    assert refused(Privileges={"CredentialSpec": {"Config": "none"}}) == (
        400,
        (
            "CredentialSpec references config 'none', but that config isn't in config references "
            "with RuntimeTarget"
        ),
    )
