"""What follows from a block ``serve`` for the endpoint that is asked."""

from __future__ import annotations

from collections.abc import Sequence

from raylabel.errors import ConfigError
from raylabel.settings.backends.openai import EndpointSettings, OpenAISettings
from raylabel.settings.root import Settings


def ask_own_servers(settings: Settings) -> None:
    """Have the pipeline ask the servers that raylabel starts: by one name, at an address that is filled in later.

    That address is none that anybody could have. It stays the same from run to run, unlike that of a server, so that
    what is known of the endpoint is found again.

    Raises:
        ConfigError: the settings say something else of the endpoint.
    """
    serve, vlm, where = settings.serve, settings.pipeline.vlm, f"{settings.autolabel_type}.vlm"
    if not serve.is_used:
        return
    if not isinstance(vlm.endpoint, OpenAISettings):
        raise ConfigError(
            f'{where}.backend: found "{vlm.backend}", allowed with serve.model: openai, which the servers speak.'
        )
    if vlm.openai.base_url:
        raise ConfigError(
            f"{where}.openai.base_url: found together with serve.model; leave out the address, or write serve.model= "
            "to start no server."
        )
    asked, served = vlm.openai.model_name, serve.served_model_name
    if asked and served and asked != served:
        raise ConfigError(
            f'{where}.openai.model_name: found "{asked}", but serve.served_model_name is "{served}"; leave one of them '
            "out."
        )
    serve.served_model_name = vlm.openai.model_name = asked or serve.served_name
    vlm.openai.base_url = f"http://own-servers-{serve.identity[:8]}.invalid/v1"
    vlm.openai.api_key = vlm.openai.api_key or serve.api_key


def at_addresses(settings: Settings, urls: Sequence[str]) -> Settings:
    """The settings with the addresses of servers that are up, one or many."""
    where: str | list[EndpointSettings] = urls[0]
    if len(urls) > 1:
        where = [EndpointSettings.model_construct(url=url) for url in urls]
    pipeline = settings.pipeline
    openai = pipeline.vlm.openai.model_copy(update={"base_url": where})
    vlm = pipeline.vlm.model_copy(update={"openai": openai})
    return settings.model_copy(update={settings.autolabel_type: pipeline.model_copy(update={"vlm": vlm})})
