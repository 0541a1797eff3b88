"""Any server that speaks OpenAI's API, started by a line that the user writes."""

from __future__ import annotations

from dataclasses import dataclass, field

from raylabel.servers.engines.engine import Engine, Launch
from raylabel.servers.metrics import AnyMetrics, Metrics


@dataclass(frozen=True)
class Command(Engine):
    """``serve.command`` with its placeholders filled in, and ``serve.args`` behind it."""

    name = "command"
    metrics: Metrics = field(default_factory=AnyMetrics)

    def command(self, launch: Launch) -> list[str]:
        values = {
            "{port}": str(launch.port),
            "{host}": launch.host,
            "{model}": launch.serve.served_name,
            "{python}": launch.python,
            "{pictures}": launch.pictures,
        }

        def filled(word: str) -> str:
            for name, value in values.items():  # other braces, as in JSON, stay
                word = word.replace(name, value)
            return word

        return [filled(word) for word in (*launch.serve.command, *launch.serve.args)]
