"""Fixtures that several rooms' tests share."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported: small networks, few cores


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with untrained weights of both levels."""
    from tests.tiny import write_weights

    return write_weights(tmp_path_factory.mktemp("weights"))
