r"""The commands of the transcript, read from the text files in `script/`, in order.

One line is one command without the word `docker`, quoted as a shell would have it:

    secret create s1 - <<< hello        what it reads; \n is a line's end
    w: swarm leave                      on the second node, not the manager
    briefly: service logs --follow web  stopped after a moment: it has no end of its own
    token = swarm join-token -q worker  what it printed can be used as {token} later
    ! wait ID N                         not a command: see `play.py`
    # why                               nothing

Nothing here runs a command.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

SCRIPT = Path(__file__).parent / "script"
_LINE = re.compile(
    r"(?:(?P<at>w|briefly): )?(?:(?P<into>\w+) = )?(?P<words>.*?)(?: <<< (?P<stdin>.*))?"
)
GROUPS = ("swarm", "node", "service", "stack", "secret", "config", "network")
ALONE = ("events",)


class Step(NamedTuple):
    """One line: where it stands, what runs where, and what becomes of it."""

    number: int
    line: str
    on_worker: bool
    briefly: bool
    into: str
    words: tuple[str, ...]
    stdin: str

    @property
    def is_command(self) -> bool:
        """Whether it is a docker command, not a pause between two."""
        return self.words[0] != "!"

    @property
    def command(self) -> str:
        """The command without flags and arguments: `service create`, `events`."""
        return self.words[0] if self.words[0] in ALONE else " ".join(self.words[:2])


def read() -> tuple[Step, ...]:
    """Return every step of every file."""
    lines = [
        line.strip()
        for file in sorted(SCRIPT.glob("*.txt"))
        for line in file.read_text().replace("\\\n", " ").splitlines()
    ]
    kept = [re.sub(r"\s+", " ", line) for line in lines if line and not line.startswith("#")]
    return tuple(_step(number, line) for number, line in enumerate(kept, start=1))


def _step(number: int, line: str) -> Step:
    found = _LINE.fullmatch(line)
    assert found, line
    return Step(
        number,
        line,
        found["at"] == "w",
        found["at"] == "briefly",
        found["into"] or "",
        tuple(shlex.split(found["words"])),
        (found["stdin"] or "").replace("\\n", "\n"),
    )
