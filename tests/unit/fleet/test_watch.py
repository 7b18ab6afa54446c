"""The loop of `watch`: when rounds come, what is counted, what ends it."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from swarmops.errors import HostError, Interrupted
from swarmops.fleet.applied import Applied
from swarmops.fleet.revision import Revision, commit_of, read_revision, revision_now
from swarmops.fleet.steps import Plan, Step, StepKind
from swarmops.fleet.watch import Figures, Round, round_of, watch


def test_failures_make_it_slower_and_success_as_fast_as_before():
    """Twice the pause for each failure in a row, at most ten times; then the interval again."""
    ends = iter([Round(), *[Round(error="x")] * 5, Round(drift=2), Round()])
    pauses: list[float] = []
    figures = Figures()
    watch(
        lambda: next(ends), 60, sleep=pauses.append, now=lambda: 7.0, figures=figures, rounds_max=8
    )
    assert pauses == [60, 120, 240, 480, 600, 600, 60]
    assert (figures.rounds, figures.failures, figures.drifted) == (8, 5, 1)
    assert figures.last_good_s == 7.0


def test_an_error_of_a_round_is_a_failed_round():
    """A host that can't be reached ends nothing."""
    figures = Figures()

    def fails() -> Round:
        raise HostError("h1", "no route")

    watch(fails, 1, sleep=lambda _: None, now=lambda: 0.0, figures=figures, rounds_max=2)
    assert figures.failures == 2
    assert figures.last.error == "h1: no route"


def test_ctrl_c_ends_it():
    """The operator's word."""

    def interrupted() -> Round:
        raise Interrupted("Interrupted while looking")

    with pytest.raises(Interrupted):
        watch(interrupted, 1, sleep=lambda _: None, now=lambda: 0.0, figures=Figures())


def step(name: str, **more: object) -> Step:
    """Return a step that removes a service."""
    fields = {"kind": StepKind.REMOVE_SERVICE, "target": name, "reason": "why", "proof": "seen"}
    return Step(id=name, **(fields | more))  # type: ignore[arg-type] # as the cases say


PLAN = Plan(steps=(step("a"), step("b")), problems={"h9": "no route"})


def test_a_round_that_was_interrupted_ends_the_watch():
    """Ctrl-C in the middle of a round is no correction, and no next round comes."""
    with pytest.raises(Interrupted):
        round_of(PLAN, (), Applied(interrupted=True))


def test_a_round_tells_what_is_wrong_and_what_is_left():
    """Problems, failures and lacks are its error; steps that nobody allowed are counted."""
    applied = Applied(failures={"h1": "disk full"}, lacks=("web: 1 of 2 tasks run",))
    ended = round_of(PLAN, PLAN.steps[:1], applied)
    assert (ended.drift, ended.left) == (2, 1)
    assert ended.error == "h9: no route; disk full; web: 1 of 2 tasks run"
    assert round_of(Plan(refusals=("two swarms",))).error == "two swarms"
    assert round_of(Plan()).error == ""


def test_a_playbooks_commit_is_gits_with_a_mark_for_changes(tmp_path: Path):
    """The hash of HEAD; `+` once something differs; nothing outside a repository."""
    playbook = tmp_path / "prod.yml"
    playbook.write_text("swarm: {managers: 1}\n")
    assert commit_of(playbook) == ""

    def git(*words: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *identity, *words],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert commit_of(playbook) == git("rev-parse", "--short=12", "HEAD")
    playbook.write_text("swarm: {managers: 3}\n")
    assert commit_of(playbook).endswith("+")
    outside = tmp_path.parent / "elsewhere.yml"
    now = revision_now([str(outside), str(playbook), str(tmp_path)], datetime.now(UTC))
    assert (now.commit, now.playbook) == (
        commit_of(playbook),
        f"elsewhere.yml, prod.yml, {tmp_path.name}",
    )


def test_a_revision_is_the_same_whoever_applied_it():
    """Commit and playbook count; a swarm without labels has none."""
    mine = Revision(commit="abc", by="me", at="now", playbook="prod.yml")
    labels = {
        "swarmops.revision": "abc",
        "swarmops.applied-playbook": "prod.yml",
        "swarmops.applied-by": "you",
        "swarmops.applied-at": "then",
    }
    assert mine.same_as(read_revision(labels))
    assert not mine.same_as(read_revision({}))
    found = read_revision(labels)
    assert found is not None
    assert found.text == "prod.yml at abc, by you on then"
