"""Programs that run on hosts: sent as text to the host's own Python, in one round trip each.

Each module is standard library only, imports nothing of ours and defines
``main(args, payload) -> dict``; ``call`` sends it through a shell. On the host nothing is written
to disk for it. The first line that the host's Python sees is understood by any version, so that an
old one gives a sentence and not a syntax error. Each import costs every host milliseconds, so that
what only annotations need is not imported there.
"""

from __future__ import annotations

import functools
import json
import logging
import shlex
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import Any

from swarmops.backends.base import Result, Shell
from swarmops.errors import HostError, HostTimeoutError

_log = logging.getLogger(__name__)
TOO_OLD = 97
"""Exit status of the first line when the interpreter is older than 3.11."""

_DISCOVERED = ("python3", "python3.14", "python3.13", "python3.12", "python3.11")
_FIRST_LINE = (
    "import sys; sys.version_info < (3, 11) and sys.exit(97); "
    "i = sys.stdin.buffer; exec(i.read(int(i.readline())))"
)
_SENT_WITH = {"facts": ("asking",), "put": ("arriving",), "install": ("arriving",)}
"""Modules of this package that a program imports: the host's Python finds them as if installed."""
_HARNESS = """
import json, sys
def run():
    for name, text in MODULES.items():
        sys.modules[name] = module = type(sys)(name)
        exec(compile(text, name, "exec"), module.__dict__)
    scope = {"__name__": "hostside"}
    try:
        exec(compile(SOURCE, NAME, "exec"), scope)
        answer = scope["main"](ARGS, sys.stdin.buffer)
    except OSError as error:
        answer = {"error": error.strerror or str(error), "path": error.filename or ""}
    if answer is not None:
        print(json.dumps(answer))
run()
"""


def command(interpreter: str | None) -> str:
    """Return the shell script that finds a fitting Python and lets it run what stdin brings."""
    candidates = [interpreter] if interpreter else list(_DISCOVERED)
    return (
        f"for p in {shlex.join(candidates)}; do "
        'command -v "$p" >/dev/null 2>&1 || continue; '
        f'"$p" -IS -c {shlex.quote(_FIRST_LINE)}; r=$?; [ $r = {TOO_OLD} ] || exit $r; '
        f"done; exit {TOO_OLD}"
    )


@functools.cache
def source(program: str) -> str:
    """Return the text of a program of this package."""
    return resources.files(__name__).joinpath(f"{program}.py").read_text()


def stdin_of(program: str, args: Mapping[str, Any]) -> bytes:
    """Return what goes to stdin before the payload: the length, the program and its arguments."""
    modules = {f"{__name__}.{name}": source(name) for name in _SENT_WITH.get(program, ())}
    text = (
        f"import json\nNAME = {program + '.py'!r}\nSOURCE = {source(program)!r}\n"
        f"MODULES = {modules!r}\nARGS = json.loads({json.dumps(dict(args))!r})\n{_HARNESS}"
    ).encode()
    return b"%d\n%s" % (len(text), text)


def no_python(host: str, interpreter: str | None) -> HostError:
    """Return the error of a host whose Python is too old or absent."""
    if interpreter:
        reason = (
            f"{interpreter} is not Python ≥ 3.11: set ansible_python_interpreter to one that is"
        )
    else:
        reason = (
            "no Python ≥ 3.11 on the host: install python3 ≥ 3.11 or set ansible_python_interpreter"
        )
    return HostError(host, reason)


def call(
    shell: Shell,
    program: str,
    args: Mapping[str, Any],
    payload: Iterable[bytes] = (),
    *,
    timeout_s: float = 60.0,
) -> dict[str, Any]:
    """Run a program of this package on the host and return its answer.

    Raises HostError: no fitting Python, an error of the host's system (disk full, permission), or
    a program that ended without an answer.
    """

    def stdin() -> Iterator[bytes]:
        yield stdin_of(program, args)
        yield from payload

    began = time.monotonic()
    try:
        result = shell.run(command(shell.interpreter), stdin=stdin(), timeout_s=timeout_s)
    except HostTimeoutError as error:
        reason = f"it didn't answer within {timeout_s:g} s ({program}): is it overloaded?"
        raise HostTimeoutError(shell.host, reason) from error
    seconds = time.monotonic() - began
    _log.debug("%s: %s ended with %d after %.3f s", shell.host, program, result.rc, seconds)
    answer = _answer(shell, result)
    if "error" in answer:
        raise HostError(shell.host, sentence(answer["error"], answer.get("path", "")))
    return answer


def _answer(shell: Shell, result: Result) -> dict[str, Any]:
    if result.rc == TOO_OLD:
        raise no_python(shell.host, shell.interpreter)
    try:
        answer = json.loads(result.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        reason = f"the program that swarmops ran there failed: {result.last_line}"
        raise HostError(shell.host, reason) from None
    if not isinstance(answer, dict):
        raise HostError(shell.host, f"unexpected answer from the host: {answer!r}")
    return answer


def sentence(error: str, path: str) -> str:
    """Return the cause with the cure where there is a known one."""
    where = f" ({path})" if path else ""
    cures = {
        "No space left on device": "free some space and apply again; nothing was left behind",
        "Disk quota exceeded": "free some space and apply again; nothing was left behind",
        "Permission denied": "set ansible_become: true, or another ansible_user",
        "Read-only file system": "make it writable",
    }
    cure = f": {cures[error]}" if error in cures else ""
    return f"{error[:1].lower()}{error[1:]}{where}{cure}"
