"""A configuration is written to files: it holds no address with a password."""

from __future__ import annotations

import pytest

from sdar_cli.base.errors import ConfigError
from sdar_cli.config.presets import resolve


@pytest.mark.parametrize("address", ["http://me:secret@host:1", "https://secret@host", "http://a,http://u:secret@b"])
def test_an_address_with_a_password_is_refused_without_naming_it(address: str) -> None:
    with pytest.raises(ConfigError) as caught:
        resolve(env="search", sets=(f"env.retriever={address}",))
    shown = caught.value.render()
    assert "SDAR_RETRIEVER_AUTH" in shown and "env.retriever" in shown and "secret" not in shown
    assert resolve(env="search", sets=("env.retriever=http://host:1",)).config.env
