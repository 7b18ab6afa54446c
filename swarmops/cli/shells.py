"""What click's completion lacks: words as shells split them, and nothing asked while one types.

Called by ``main`` when a shell asks for completions, and by ``swarmops completion``.
"""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Any, ClassVar, TextIO

from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
)
from click.shell_completion import split_arg_string as split

_BREAKS = ":="


def _word(shell: ShellComplete, item: CompletionItem[Any]) -> CompletionItem[Any]:
    """Return the whole word: of ``--limit=we`` click completes what stands behind the sign."""
    name, equals, _ = shell.get_completion_args()[1].partition("=")
    if item.type != "plain" or not equals or not name.startswith("--"):
        return item
    return CompletionItem(f"{name}={item.value}", help=item.help)


class Zsh(ZshComplete):
    """Replaces whole words."""

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return kind, word and help, a line each."""
        return super().format_completion(_word(self, item))


class Fish(FishComplete):
    """Click's own script cuts a word at its first comma."""

    source_template: ClassVar[str] = """\
function %(complete_func)s;
    set -l response (env %(complete_var)s=fish_complete COMP_WORDS=(commandline -cp) \\
        COMP_CWORD=(commandline -t) %(prog_name)s 2>/dev/null);
    for completion in $response;
        set -l metadata (string split -m 1 "," -- $completion);
        if test $metadata[1] = "dir";
            __fish_complete_directories $metadata[2];
        else if test $metadata[1] = "file";
            __fish_complete_path $metadata[2];
        else if test $metadata[1] = "plain";
            echo $metadata[2];
        end;
    end;
end;

complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)";
"""

    def format_completion(self, item: CompletionItem[Any]) -> str:
        """Return kind and word with its help."""
        return super().format_completion(_word(self, item))


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
        value = str(_word(self, item).value)
        return f"{item.type},{value[cut:] if value.startswith(typed[:cut]) else value}"


def prepare(instruction: str = "") -> None:
    """Make completions ours. While a line is typed nothing is asked and nothing is said."""
    for shell in (Bash, Zsh, Fish):
        add_completion_class(shell)
    if not instruction.endswith("_complete"):
        return
    sys.stdin, sys.stderr = _nowhere("r"), _nowhere("w")


@functools.cache
def _nowhere(mode: str) -> TextIO:
    return Path(os.devnull).open(mode, encoding="utf-8")  # type: ignore[return-value]  # a text mode
