"""What a machine must have to run a lab. Asked before anything is started."""

import os
import shutil

TOOLS = ("debootstrap", "dockerd", "docker", "ip", "ssh", "ssh-keygen", "busybox")


def missing() -> str:
    """Return one sentence saying why no lab can run here, empty if one can."""
    if os.geteuid() != 0:
        return "a lab needs root"
    absent = [tool for tool in TOOLS if shutil.which(tool) is None]
    if absent:
        return f"a lab needs {', '.join(absent)}: install the packages in tests/lab/packages.txt"
    return ""
