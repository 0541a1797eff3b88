"""``key=value`` on the command line, and the ways in which people write it who know other programs."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from raylabel.errors import ConfigError
from raylabel.settings.block import inner_block, members
from raylabel.settings.messages import same_name_elsewhere
from raylabel.settings.nearest import did_you_mean
from raylabel.settings.root import Settings
from raylabel.settings.secrets import is_secret_name


def split_override(words: Sequence[str], place: int) -> tuple[str, str]:
    """Key and value of one word of several.

    Raises:
        ConfigError: it is not written as ``key=value``; with the right spelling, where it can be told.
    """
    word = words[place]
    key, equals, value = word.partition("=")
    key = key.strip()
    if key.startswith("~"):  # Hydra's words for adding and removing
        raise ConfigError(f'"{_shown(key)}": write {_shown(key[1:])}= to unset it.')
    if key.startswith("+"):
        raise ConfigError(f'"{_shown(key)}": write it without "+"; every key may be set.')
    if key and equals:
        return key, value
    raise _not_key_value(words, place)


def without_dashes(words: Sequence[str], place: int) -> str | None:
    """The setting that a word like an option (``--results_dir x``) stands for, as ``key=value``; None if for none."""
    option, equals, value = words[place].partition("=")
    name = option.lstrip("-").replace("-", "_")
    known = [path for path, _ in members(Settings)]
    key = name if name in known else same_name_elsewhere(name, {})
    if key is None:
        return None
    following = "" if equals else "".join(words[place + 1 : place + 2])
    return _key_value(key, value or ("" if following.startswith("-") else following) or _example(key))


def _not_key_value(words: Sequence[str], place: int) -> ConfigError:
    word, before, after = words[place], words[place - 1] if place else "", [*words[place + 1 : place + 3], "", ""]
    known = [path for path, _ in members(Settings)]
    key, colon, value = (part.strip() for part in word.partition(":"))
    if before.endswith("="):
        return _split_by_spaces(before, word, before.rstrip("="), word)
    if after[0].startswith("="):
        return _split_by_spaces(word, after[0][:1], key, after[0][1:] or after[1])
    if key in known and colon:
        return ConfigError(f'"{key}:": write "=" for ":": {_key_value(key, value or after[0])}.')
    if key in known and after[0] and "=" not in after[0]:
        return _split_by_spaces(word, after[0], key, after[0])
    if key in known:
        return ConfigError(f'"{key}": expected key=value, for example {_key_value(key, _example(key))}.')
    shown = _shown(word)
    return ConfigError(f'"{shown}": expected key=value, for example results_dir=results.{did_you_mean(shown, known)}')


def _split_by_spaces(first: str, second: str, key: str, value: str) -> ConfigError:
    second = "..." if is_secret_name(first) and second != "=" else second
    return ConfigError(f'"{_shown(first)}" "{second}": write it without spaces: {_key_value(key, value)}.')


def _key_value(key: str, value: str) -> str:
    return f"{_shown(key)}={'...' if is_secret_name(key) else value}"


def _shown(text: str) -> str:
    return re.split(r"[^\w.~+]", text)[0] if is_secret_name(text) else text


def _example(key: str) -> str:
    field = dict(members(Settings))[key]
    default = None if inner_block(field) else field.get_default(call_default_factory=True)
    return "..." if default in (None, "", [], {}) else default if isinstance(default, str) else json.dumps(default)
