"""``lookup('env', 'NAME')`` and ``lookup('file', 'path')`` in templates, as Ansible has them.

Called by ``templates``. Reads the operator's environment and files, nothing on hosts; runs nothing.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from jinja2 import TemplateRuntimeError, pass_context
from jinja2.runtime import Context

_PREFIX = "ansible.builtin."


@pass_context
def lookup(context: Context, kind: str, *terms: str, **options: Any) -> str:
    """Return what the terms name, joined by commas; an unset variable is ``default`` or empty.

    Relative files are looked for from the inventory's folder. Raises TemplateRuntimeError.
    """
    name = str(kind).removeprefix(_PREFIX)
    if name == "env":
        default = options.get("default", "")
        return ",".join(os.environ.get(str(term), str(default)) for term in terms)
    if name == "file":
        folder = Path(str(context.get("inventory_dir") or "."))
        return ",".join(_content(folder / Path(str(term)).expanduser(), options) for term in terms)
    raise TemplateRuntimeError(f"lookup '{kind}' is not known here: use 'env' or 'file'")


def _content(path: Path, options: dict[str, Any]) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise TemplateRuntimeError(f"lookup of {path}: it is no UTF-8 text") from None
    except OSError as error:
        raise TemplateRuntimeError(f"lookup of {path}: {error.strerror}") from None
    return text.rstrip() if options.get("rstrip", True) else text
