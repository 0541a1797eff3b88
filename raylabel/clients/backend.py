"""What a backend is: one class that knows a way of speaking to a model, from its settings to its replies."""

from __future__ import annotations

import importlib.util
from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

from raylabel.clients.base import Client, Sampling, SchemaForm, ServedModel
from raylabel.errors import ConfigError
from raylabel.settings import BackendSettings

SettingsT = TypeVar("SettingsT", bound=BackendSettings)


class Backend(Client, Generic[SettingsT]):
    """A client, and what is special about it: how its block of settings is to be understood.

    One class, in one file, for each block of ``VlmSettings``, and one row of the table in ``endpoints``. An object is
    one endpoint. The class itself is also asked where nothing is ever sent (a driver looks for keys, and names the
    endpoint), so an SDK is imported when an object is made: google-genai takes half a second.
    """

    name: ClassVar[str]
    """What ``vlm.backend`` says, and the name of the block in ``vlm``."""
    schema_forms: ClassVar[tuple[SchemaForm, ...]] = ()
    """The forms of reply schema that are sent, best first."""
    is_model: ClassVar[bool] = True
    """Whether it depends on what answers how boxes are written and which schemas are obeyed; otherwise boxes are
    written as most models do it (``profiles.UNKNOWN``), and schemas are not probed."""
    extra: ClassVar[str] = ""
    """The extra of raylabel that installs the SDK, by the name of the SDK's package; empty: it is always there."""

    async def served_model(self, model: str) -> ServedModel:
        return ServedModel()

    @classmethod
    @abstractmethod
    def from_settings(cls, settings: SettingsT, env: Mapping[str, str]) -> Client:
        """A client of the configured endpoint; nothing is sent yet.

        Raises:
            ConfigError: the settings cannot be used: no key, no such file, a proxy of an unknown kind.
        """

    @classmethod
    @abstractmethod
    def sampling_of(cls, settings: SettingsT) -> Sampling:
        """How answers are sampled where a step says nothing else."""

    @classmethod
    def check_sampling(cls, settings: SettingsT, sampling: Sampling) -> None:
        """Refuse values that the endpoint has no words for.

        Raises:
            ConfigError: one sentence that says what to write instead.
        """

    @classmethod
    def find_key(cls, settings: SettingsT, env: Mapping[str, str]) -> str | None:
        """The key for the configured endpoint; None where it does without.

        Raises:
            ConfigError: no key where one is needed, or one that no header can hold.
        """
        return None

    @classmethod
    def with_key(cls, settings: SettingsT, key: str | None) -> SettingsT:
        """The block with the key in it, so that it is found where the environment does not hold it."""
        return settings

    @classmethod
    def with_keys(cls, settings: SettingsT, env: Mapping[str, str]) -> SettingsT:
        """The block with the keys of all its endpoints in it.

        Raises:
            ConfigError: as ``find_key``.
        """
        return cls.with_key(settings, cls.find_key(settings, env))

    @classmethod
    def endpoint_of(cls, settings: SettingsT) -> str:
        """Host and port that are spoken to, for the record; the backend's name where nobody is."""
        return cls.name

    @classmethod
    def members_of(cls, settings: SettingsT) -> tuple[tuple[SettingsT, float, int], ...]:
        """The endpoints that the block names: a block for each that names it alone, with its weight beside the others'
        and the requests in flight that it takes at most (0: not said)."""
        return ((settings, 1.0, 0),)

    @classmethod
    def check_installed(cls) -> None:
        """See that the SDK is there, without importing it.

        Raises:
            ConfigError: with the line that installs it.
        """
        if cls.extra and importlib.util.find_spec(cls.extra) is None:
            raise ConfigError(
                f'vlm.backend: {cls.name} needs its SDK, which is not installed: pip install "raylabel[{cls.extra}]"'
            )
