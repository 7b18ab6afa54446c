"""What click's completion lacks: bash as it splits words, and nothing asked while a line is typed.

Called by ``main`` when a shell asks for completions, and by ``swarmops completion``.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any, ClassVar, TextIO

from click.shell_completion import BashComplete, CompletionItem, add_completion_class
from click.shell_completion import split_arg_string as split

_BREAKS = ":="


class Bash(BashComplete):
    """Bash takes ``web:!db`` and ``web=3`` apart at ``:`` and ``=``; here a word is a shell's word.

    So the whole line is read, and of a completion only what bash regards as the last word is given.
    """

    source_template: ClassVar[str] = """\
%(complete_func)s() {
    local IFS=$'\\n' response completion type value
    response=$(env COMP_LINE="${COMP_LINE:0:COMP_POINT}" COMP_WORDBREAKS="$COMP_WORDBREAKS" \\
        %(complete_var)s=bash_complete "$1" 2>/dev/null)
    for completion in $response; do
        IFS=',' read -r type value <<< "$completion"
        if [[ $type == 'dir' ]]; then
            COMPREPLY=()
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            COMPREPLY=()
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            COMPREPLY+=("$value")
            if [[ $value == *[=/] ]]; then
                compopt -o nospace
            fi
        fi
    done
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""

    def get_completion_args(self) -> tuple[list[str], str]:
        """Return the words before the one that is typed, and that one."""
        line = os.environ.get("COMP_LINE", "")
        words = split(line)
        incomplete = "" if not words or line[-1:].isspace() else words.pop()
        return words[1:], incomplete

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Leave out what stands on the line before the last break of words."""
        typed = self.get_completion_args()[1]
        breaks = set(os.environ.get("COMP_WORDBREAKS", _BREAKS)) & set(_BREAKS)
        quoted = os.environ.get("COMP_LINE", "").split(" ")[-1][:1] in {"'", '"'}
        cut = 0 if quoted else max([typed.rfind(mark) for mark in breaks], default=-1) + 1
        value = str(item.value)
        return f"{item.type},{value[cut:] if value.startswith(typed[:cut]) else value}"


def prepare(instruction: str = "") -> None:
    """Make completions ours. While a line is typed nothing is asked and nothing is said."""
    add_completion_class(Bash)
    if not instruction.endswith("_complete"):
        return
    sys.stdin, sys.stderr = _nowhere("r"), _nowhere("w")


@functools.cache
def _nowhere(mode: str) -> TextIO:
    return Path(os.devnull).open(mode, encoding="utf-8")  # type: ignore[return-value]  # a text mode
