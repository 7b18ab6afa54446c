"""What every key of a service means, in a sentence: data, see ``meanings``.

Paths begin below the service: ``deploy.replicas``, ``ports[].mode``.
"""

from __future__ import annotations

from typing import NamedTuple


class Meaning(NamedTuple):
    """One sentence, and what holds where the key is absent."""

    text: str
    default: str = ""

    @property
    def sentence(self) -> str:
        """Both in one text, as an editor shows it."""
        return f"{self.text} Default: {self.default}." if self.default else self.text


_M = Meaning
_CONTAINER = {
    "image": _M("The image; `host` runs the command as a plain process. Must be there."),
    "entrypoint": _M("Replaces the image's entrypoint (Docker's Command)."),
    "command": _M("Arguments (Docker's Args): a list, or a text split as a shell would."),
    "environment": _M("Environment variables; a key without a value is an error."),
    "labels": _M("Labels of the containers; those of the service are `deploy.labels`."),
    "working_dir": _M("Folder in which it runs.", "the image's"),
    "user": _M("User as whom it runs: `NAME` or `UID[:GID]`.", "the image's"),
    "group_add": _M("More groups of that user."),
    "hostname": _M("Host name inside the container; may have Docker's templates."),
    "init": _M("Run an init in the container that reaps processes.", "the engine's"),
    "stop_signal": _M("Signal that asks it to stop.", "the image's, else `SIGTERM`"),
    "stop_grace_period": _M("Time from that signal to the kill.", "`10s`"),
    "tty": _M("Allocate a terminal.", "`false`"),
    "stdin_open": _M("Keep stdin open.", "`false`"),
    "read_only": _M("Make the root file system read-only.", "`false`"),
    "healthcheck": _M("How to see whether a task is well.", "the image's"),
    "healthcheck.test": _M(
        "The check: a text for a shell, or a list that begins with `CMD`, `CMD-SHELL` or `NONE`."
    ),
    "healthcheck.interval": _M("Time between two checks.", "`30s`"),
    "healthcheck.timeout": _M("A check that takes longer has failed.", "`30s`"),
    "healthcheck.start_period": _M("Failures in this time after the start don't count.", "`0`"),
    "healthcheck.start_interval": _M("Time between two checks in that period.", "`5s`"),
    "healthcheck.retries": _M("So many failures in a row make a task unhealthy.", "3"),
    "healthcheck.disable": _M("`true`: no check, not the image's either.", "`false`"),
    "extra_hosts": _M("More lines of /etc/hosts: `name:address`, or a mapping."),
    "secrets": _M("Secrets that its tasks see, as files in /run/secrets."),
    "configs": _M("Configs that its tasks see, as files."),
    "isolation": _M("Isolation of containers on Windows."),
    "sysctls": _M("Kernel settings of the container."),
    "cap_add": _M("Capabilities that it has besides the usual ones."),
    "cap_drop": _M("Capabilities that it lacks."),
    "ulimits": _M("Limits of its processes, by name: one number, or `soft` and `hard`."),
    "ulimits.*.soft": _M("The soft limit."),
    "ulimits.*.hard": _M("The hard limit."),
    "oom_score_adj": _M("How readily the kernel kills it for memory, -1000 to 1000."),
    "dns": _M("Name servers."),
    "dns_search": _M("Domains in which names are looked up."),
    "dns_opt": _M("Options of the resolver."),
    "tmpfs": _M("Paths of file systems in memory."),
    "env_file": _M("Files of environment variables, relative to the playbook."),
    "extends": _M("Another service that this one is laid over."),
    "extends.service": _M("That service's name."),
    "extends.file": _M("The Compose file that has it.", "this file"),
}
_FILE = {
    "source": _M("Its name in the swarm."),
    "target": _M("The file's name or path in the task.", "the source's name"),
    "uid": _M("The file's owner.", "`0`"),
    "gid": _M("The file's group.", "`0`"),
    "mode": _M("The file's mode.", "`0444`"),
}
_OUTSIDE = {
    "volumes": _M("Mounts: `source:target[:ro]`, or a mapping; paths are the hosts'."),
    "volumes[].type": _M("Kind of the mount."),
    "volumes[].source": _M("Name of the volume, or an absolute path on the hosts."),
    "volumes[].target": _M("Absolute path in the task."),
    "volumes[].read_only": _M("Nothing can be written there.", "`false`"),
    "volumes[].consistency": _M("Passed to the engine."),
    "volumes[].bind": _M("Of type `bind`."),
    "volumes[].bind.propagation": _M("How mounts below it spread.", "`rprivate`"),
    "volumes[].bind.create_host_path": _M("Make the path where it is absent.", "`false`"),
    "volumes[].bind.selinux": _M("Read and left out: a swarm has no such thing."),
    "volumes[].volume": _M("Of type `volume`."),
    "volumes[].volume.nocopy": _M("Don't copy the image's files into a new one.", "`false`"),
    "volumes[].volume.labels": _M("Labels of a volume that is made for it."),
    "volumes[].volume.subpath": _M("Mount only this folder of it."),
    "volumes[].tmpfs": _M("Of type `tmpfs`."),
    "volumes[].tmpfs.size": _M("Most bytes in it.", "no limit"),
    "volumes[].tmpfs.mode": _M("Mode of its top folder.", "`1777`"),
    "ports": _M("Published ports: `8080:80`, `80`, `8000-8009:80-89/udp`, or a mapping."),
    "ports[].target": _M("Port in the task. Must be there."),
    "ports[].published": _M("Port that is published.", "one from 30000 to 32767"),
    "ports[].protocol": _M("Protocol.", "`tcp`"),
    "ports[].mode": _M(
        "`ingress` publishes on every node, `host` on the nodes that run a task.", "`ingress`"
    ),
    "ports[].name": _M("A name for it."),
    "ports[].app_protocol": _M("Read and left out: a swarm has no such thing."),
    "networks": _M("Networks in the swarm that its tasks join."),
    "networks.*.aliases": _M("More names of the service in that network."),
    "networks.*.driver_opts": _M("Options for the network's driver."),
    "logging": _M("Where output goes.", "the engine's way"),
    "logging.driver": _M("Driver of the logs."),
    "logging.options": _M("Options of that driver."),
}
_DEPLOY = {
    "deploy": _M("How many tasks, where, and how they are replaced."),
    "deploy.mode": _M("Replicas, one task a node, or a job of either kind.", "`replicated`"),
    "deploy.replicas": _M("How many tasks.", "1; what is there stays"),
    "deploy.labels": _M("Labels of the service."),
    "deploy.endpoint_mode": _M("How the service is reached by name.", "`vip`"),
    "deploy.placement": _M("Where tasks run."),
    "deploy.placement.constraints": _M(
        "Such as `node.labels.disk == ssd`, `node.role != manager`; all must hold."
    ),
    "deploy.placement.preferences": _M("What to spread tasks over, the first first."),
    "deploy.placement.preferences[].spread": _M("A label, as `node.labels.zone`."),
    "deploy.placement.max_replicas_per_node": _M("Most tasks on one node.", "no limit"),
    "deploy.resources": _M("Resources of each task."),
    "deploy.resources.limits": _M("What it gets at most."),
    "deploy.resources.limits.cpus": _M("CPUs, as `0.5`.", "no limit"),
    "deploy.resources.limits.memory": _M("Memory.", "no limit"),
    "deploy.resources.limits.pids": _M("Processes.", "no limit"),
    "deploy.resources.reservations": _M("What is kept for it on its node."),
    "deploy.resources.reservations.cpus": _M("CPUs, as `0.5`.", "none"),
    "deploy.resources.reservations.memory": _M("Memory.", "none"),
    "deploy.resources.reservations.generic_resources": _M("Resources that operators name."),
    "deploy.restart_policy": _M("When an ended task is replaced."),
    "deploy.restart_policy.condition": _M("After which ends.", "`any`"),
    "deploy.restart_policy.delay": _M("Pause before the replacement.", "`5s`"),
    "deploy.restart_policy.max_attempts": _M("Most replacements.", "no limit"),
    "deploy.restart_policy.window": _M("Time over which they are counted.", "for ever"),
    "deploy.restart_policy.backoff": _M("Each restart in a row waits longer.", "none"),
    "deploy.restart_policy.backoff.factor": _M("So many times longer, 1 to 100.", "2"),
    "deploy.restart_policy.backoff.max": _M("The longest pause.", "`5m`"),
    "deploy.update_config": _M("How a change is rolled out; not of jobs."),
    "deploy.rollback_config": _M("How a change is taken back."),
}
_GENERIC = {
    "discrete_resource_spec": _M("A number of one kind."),
    "discrete_resource_spec.kind": _M("The kind's name."),
    "discrete_resource_spec.value": _M("How many."),
}
_ROLLOUT = {
    "parallelism": _M("Tasks at once; 0 is all.", "1"),
    "delay": _M("Pause between two batches.", "none"),
    "failure_action": _M("What to do when it fails.", "`pause`"),
    "monitor": _M("How long a new task is watched.", "`5s`"),
    "max_failure_ratio": _M("Share of failed tasks, 0 to 1, that is borne.", "0"),
    "order": _M("Which task of a pair comes first.", "`stop-first`"),
}
SERVICE: dict[str, Meaning] = {
    **_CONTAINER,
    **{f"{kind}[].{key}": m for kind in ("secrets", "configs") for key, m in _FILE.items()},
    **_OUTSIDE,
    **_DEPLOY,
    **{f"deploy.resources.reservations.generic_resources[].{k}": m for k, m in _GENERIC.items()},
    **{f"deploy.{of}_config.{k}": m for of in ("update", "rollback") for k, m in _ROLLOUT.items()},
}
