"""What the tests in this folder have of their own: a marker, and the authorities of the machine."""

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "real: runs against a real server that the test starts")


@pytest.fixture(scope="module", autouse=True)
def few_authorities() -> None:
    """All of the machine, as servers are installed from an index of packages over TLS."""
