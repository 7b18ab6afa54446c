"""Failures inside scenarios are explained as pytest explains those inside tests."""

from pathlib import Path

import pytest

# By module: the folder itself is a namespace that pytest has imported already.
pytest.register_assert_rewrite(
    *(
        f"tests.lab.oracle.{file.stem}"
        for file in Path(__file__).parent.glob("*.py")
        if file != Path(__file__)
    )
)
