"""A plan in a file: made by one run, reviewed by people, carried out by another, or refused.

Called by ``plan --out`` and ``apply --plan``. A plan is refused unless the very same one would be
made now: whatever has moved since (hosts, swarm, playbook, release), what is done was reviewed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from swarmops import __version__
from swarmops.errors import InputError, SwarmopsError
from swarmops.fleet.owner import owner
from swarmops.fleet.selection import Wanted
from swarmops.fleet.steps import Plan, Step

FORMAT = 3


class SavedPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds. Paths are absolute; ``wanted`` is what chose a part."""

    format: int = FORMAT
    release: str = __version__
    made_at: str
    made_by: str
    inventory: str
    playbooks: tuple[str, ...] = ()
    wanted: Wanted = Wanted()
    plan: Plan


def saved_plan(plan: Plan, inventory: Path, playbooks: Sequence[Path], wanted: Wanted) -> SavedPlan:
    """Return what the file of a plan holds."""
    return SavedPlan(
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        made_by=owner(),
        inventory=str(inventory.absolute()),
        playbooks=tuple(str(playbook.absolute()) for playbook in playbooks),
        wanted=wanted,
        plan=plan,
    )


def write_plan(saved: SavedPlan, path: Path) -> None:
    """Write the file, for its owner alone: it holds environments. Raises InputError."""
    content = msgspec.json.format(msgspec.json.encode(saved), indent=2) + b"\n"
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise InputError(f"{path} can't be written: {error.strerror}") from error


def read_plan(path: Path) -> SavedPlan:
    """Read the file back. Raises InputError."""
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=SavedPlan)
    except OSError as error:
        raise InputError(
            f"the plan {path} can't be read ({error.strerror}): 'swarmops plan --out' writes one"
        ) from error
    except msgspec.MsgspecError as error:
        raise InputError(f"{path} is no plan ({error}): make one with 'swarmops plan --out'") from (
            error
        )
    if saved.format != FORMAT:
        raise InputError(
            f"{path} was written by swarmops {saved.release}: make the plan with this release"
        )
    return saved


def refuse_moved(saved: Plan, now: Plan) -> None:
    """Raise SwarmopsError, with the first difference, unless both plans are the same."""
    before = {step.id: step for step in saved.steps}
    after = {step.id: step for step in now.steps}
    gone = [step for step in saved.steps if step.id not in after]
    new = [step for step in now.steps if step.id not in before]
    changed = [step for step in now.steps if step.id in before and before[step.id] != step]
    if now.refusals:
        raise _moved(now.refusals[0])
    if gone:
        raise _moved(f"{_named(gone)} not to be done any more")
    if new:
        raise _moved(f"{_named(new)} to be done now too")
    if changed:
        raise _moved(f"{_named(changed)} to be done otherwise now")
    if saved.hooks != now.hooks:
        raise _moved("the playbook's hooks are others")


def _named(steps: list[Step]) -> str:
    names = ", ".join(step.id for step in steps[:3])
    more = f" and {len(steps) - 3} more" if len(steps) > 3 else ""  # noqa: PLR2004 - those named
    return f"{names}{more} {'is' if len(steps) == 1 else 'are'}"


def _moved(what: str) -> SwarmopsError:
    return SwarmopsError(
        f"the world has moved since the plan was made ({what}): nothing was changed; make the plan"
        " again and review it"
    )
