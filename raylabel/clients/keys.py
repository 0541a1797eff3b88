"""Where an API key comes from: the settings, a variable named there, or the vendor's own variable."""

from __future__ import annotations

from collections.abc import Mapping

from raylabel.clients.hosts import is_host_of
from raylabel.errors import ConfigError


def usable_key(key: str, where: str) -> str:
    """A key without the blanks around it; empty where there is none.

    Args:
        where: the setting or variable it stands in, for messages.

    Raises:
        ConfigError: no header can hold it.
    """
    key = (key or "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(f"{where}: the key holds characters that no API key has (spaces, line ends or non-ASCII)")
    return key


def key_for_host(
    block: str, api_key: str, api_key_env: str, base_url: str, env: Mapping[str, str], *, variable: str, host: str
) -> str | None:
    """The key for an address of a protocol that others than its vendor speak; None where it may do without.

    Args:
        block: the block's path, such as ``vlm.openai``.
        api_key: as written in the settings; goes to any address.
        api_key_env: name of a variable that holds the key for this address.
        base_url: the address; empty: the vendor's.
        variable: holds the vendor's key, which goes to the vendor's own ``host`` alone.

    Raises:
        ConfigError: no key where one is needed, or one that no header can hold.
    """
    if key := usable_key(api_key, f"{block}.api_key"):
        return key
    if api_key_env:
        if key := usable_key(env.get(api_key_env, ""), api_key_env):
            return key
        raise ConfigError(
            f"{block}.api_key_env: the environment variable {api_key_env} is not set; set it to the API key"
        )
    if base_url and not is_host_of(base_url, host):
        return None
    if key := usable_key(env.get(variable, ""), variable):
        return key
    raise ConfigError(
        f"{block}.api_key: no API key for {host}; set the environment variable {variable}, or write "
        f"{block}.base_url for another endpoint"
    )
