"""The block ``vlm.openai``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, ValidationError

from raylabel.blocks import (
    BaseUrl,
    Block,
    Count,
    Number,
    Positive,
    Seconds,
    Secret,
    Temperature,
    ThinkingBudget,
    VariableName,
    not_allowed,
)
from raylabel.errors import ConfigError
from raylabel.settings.backends import BackendSettings


class EndpointSettings(Block):
    """One of several endpoints that serve one model."""

    url: BaseUrl
    """As ``base_url``."""
    weight: Annotated[Number, Field(gt=0)] = 1.0
    """Its part of the images, beside the others'; an endpoint that turns out to be slower gets fewer."""
    max_in_flight: Count = 0
    """Requests in flight there at most; 0: as many as it takes."""
    api_key: Secret = ""
    """Empty: as for one endpoint, the key of the block or none."""
    api_key_env: VariableName = ""
    """Name of an environment variable that holds the key for this endpoint."""

    @property
    def has_key(self) -> bool:
        """Whether it has a key of its own."""
        return bool(self.api_key or self.api_key_env)


def _endpoints(value: Any) -> Any:
    """One address, or a list of addresses and blocks; an address alone where the list holds nothing else."""
    if not isinstance(value, list):
        return value
    entries = [{"url": each} if isinstance(each, str) else each for each in value]
    keys = ", ".join(EndpointSettings.model_fields)
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict | EndpointSettings) or (isinstance(entry, dict) and "url" not in entry):
            raise not_allowed(f"addresses, or blocks of {keys}; number {number} is neither")
        try:
            EndpointSettings.model_validate(entry)
        except ValidationError as error:
            details = error.errors()[0]
            place = ".".join(map(str, details["loc"]))
            raise not_allowed(f"addresses, or blocks of {keys}; number {number}: {place} cannot be used") from None
    if not entries:
        raise not_allowed("an address, or a list of at least one")
    urls = [entry["url"].rstrip("/") if isinstance(entry, dict) else entry.url.rstrip("/") for entry in entries]
    if len(set(urls)) < len(urls):
        raise not_allowed("addresses of which none is there twice")
    return entries


class OpenAISettings(BackendSettings):
    """Anything that speaks the OpenAI API (NIM, vLLM, ...); used where backend is openai."""

    takes_files: ClassVar[bool] = True

    api_key: Secret = ""
    """Empty: read OPENAI_API_KEY, which is sent to api.openai.com only; other hosts get the key written here, or
    that of the variable named in ``api_key_env``, or none."""
    # People paste the key itself there.
    api_key_env: VariableName = ""
    """Name of an environment variable that holds the key for this ``base_url``."""
    base_url: Annotated[BaseUrl | list[EndpointSettings], BeforeValidator(_endpoints)] = ""
    """For example http://localhost:8000/v1, without /chat/completions; empty: api.openai.com. Or a list of endpoints
    that serve one model: addresses, or blocks such as {url: ..., weight: 2, max_in_flight: 64, api_key_env: KEY}."""
    model_name: str = ""
    """As the server spells it (see its /v1/models); required."""
    temperature: Temperature = 0.7
    """0 to 2."""
    max_tokens: Positive = 4096
    """Limit of one answer."""
    timeout: Seconds = 60.0
    """Seconds per request."""
    thinking_budget: ThinkingBudget | None = None
    """Tokens the model may think, where the server can be told; null: the model's default."""
    extra_body: dict[str, Any] = Field(default_factory=dict)
    """Further fields of the request body, verbatim."""

    @property
    def endpoints(self) -> Sequence[EndpointSettings]:
        """Those of ``base_url``, one or many."""
        found = self.base_url
        return [EndpointSettings.model_construct(url=found)] if isinstance(found, str) else found

    @property
    def first_url(self) -> str:
        """The address of the first endpoint; empty: OpenAI's own."""
        return self.endpoints[0].url

    def check_needs(self, where: str, names_a_model: bool) -> None:
        if not self.model_name and not names_a_model:
            raise ConfigError(f"{where}.model_name: required with backend openai; give it as the server spells it.")
