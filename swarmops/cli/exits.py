"""The exit codes of the program, for its help, the reference and whoever returns one."""

from __future__ import annotations

DONE = 0
ERROR = 1
SOMETHING = 2
SOME_HOSTS = 3
LOCKED = 4
INTERRUPTED = 130

MEANINGS = {
    DONE: "done; of plan: nothing needs doing",
    ERROR: "an error: nothing could be done, or a service is not as it should be; wrong input too",
    SOMETHING: "of plan and apply --check: something needs doing; of apply --plan: more than the"
    " plan had",
    SOME_HOSTS: "some hosts failed or could not be used, each named; the others are done",
    LOCKED: "somebody else is changing the swarm; the message says who, since when, why, and what"
    " to do",
    INTERRUPTED: "Ctrl-C",
}
EPILOG = (
    "Exit codes: 0 done, 1 error, 2 something needs doing (plan), 3 some hosts failed, 4 locked by"
    " somebody else, 130 interrupted."
)
