"""A bundle whose answers are known by arithmetic."""

import pytest
from made_up import BrightnessNetwork, setting_of

from tiny import write_tiny_bundle


@pytest.fixture(scope="session")
def brightness(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "brightness", network=BrightnessNetwork())


@pytest.fixture
def around(brightness):
    """Makes settings of the brightness network."""
    return lambda pixels, labels, masks=None: setting_of(brightness, pixels, labels, masks)
