"""Each SDK reads the file of trusted authorities for each client, though no test speaks TLS."""

from __future__ import annotations

from pathlib import Path

import certifi
import pytest

_END = "-----END CERTIFICATE-----\n"


@pytest.fixture(scope="session")
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a file with the first of the authorities: reading them all takes 30 ms of CPU time."""
    path = tmp_path_factory.mktemp("authorities") / "one.pem"
    path.write_text(certifi.contents().partition(_END)[0] + _END)
    return path


@pytest.fixture(autouse=True)
def _trust_one_authority(_one_authority: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(_one_authority))
