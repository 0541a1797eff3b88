"""Asks an endpoint whatever a run must know of it and does not know yet."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from raylabel.clients.base import Client
from raylabel.clients.endpoints import (
    backend_of,
    build_client,
    configured_profile,
    members_of,
    retry_policy,
    sampling_for,
)
from raylabel.errors import ClientError, ConfigError
from raylabel.probing.asking import IN_FLIGHT, ProbeSession
from raylabel.probing.box_reading import BoxReading
from raylabel.probing.calibration import calibrate_model, with_box_reading
from raylabel.probing.facts import EndpointFacts, probes_schemas
from raylabel.probing.measurement import Measurement
from raylabel.probing.models import box_models, prompt_of, steps_sending_boxes
from raylabel.probing.one_model import different_models
from raylabel.probing.schema import probe_schema_form
from raylabel.settings import Settings, VlmSettings
from raylabel.steps.grounding import Grounding

FIRST_TRIES = 3
"""Tries to reach the endpoint, one second apart."""

logger = logging.getLogger(__name__)


def probe_endpoint(
    settings: Settings,
    vlm: VlmSettings,
    known: EndpointFacts,
    on_measurement: Callable[[str, Measurement], None] = lambda model, measured: None,
) -> EndpointFacts:
    """Ask the endpoint whatever is not known of it.

    Args:
        vlm: the pipeline's block, with the key in it.
        known: of an earlier run; what still holds is not asked again.
        on_measurement: told of every measurement of a model, also of those that end in an error.

    Raises:
        CalibrationError: the boxes of a model cannot be had, or contradict the settings.
        ClientError: the endpoint turns us away, or nobody answers.
        ConfigError: several endpoints serve different models.
    """
    probing = _probe_endpoint(settings, vlm, known, on_measurement)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(probing)
    with ThreadPoolExecutor(1) as thread:  # in a notebook this thread has a loop already
        return thread.submit(asyncio.run, probing).result()


async def _probe_endpoint(
    settings: Settings, vlm: VlmSettings, known: EndpointFacts, on_measurement: Callable[[str, Measurement], None]
) -> EndpointFacts:
    # Keys are in the block, and no proxy stands before servers of our own.
    env: Mapping[str, str] = {} if settings.serve.is_used else os.environ
    clients = {member.name: build_client(member.vlm, env) for member in members_of(vlm)}
    try:
        endpoint = await _find_one(clients, settings)
        client, verdicts = clients[endpoint], {}
        sending = steps_sending_boxes(settings)
        for model, sampling in box_models(settings).items():
            reporter = _Reporter(model, on_measurement)
            session = ProbeSession(
                client,
                sampling,
                retry_policy(settings),
                settings.image,
                prompt_for=partial(prompt_of, settings, Grounding),
                in_flight=min(IN_FLIGHT, settings.max_workers or IN_FLIGHT),
            )
            verdicts[model] = await calibrate_model(
                session,
                endpoint=endpoint,
                model=model,
                configured=configured_profile(vlm, model),
                known=known.verdicts.get(model),
                mode=vlm.calibrate,
                on_measurement=reporter.measured,
            )
            if model in sending:
                verdicts[model] = await with_box_reading(session, verdicts[model], sending[model], reporter.read)
        if not probes_schemas(settings) or (known.has_probed and vlm.calibrate != "always"):
            return EndpointFacts(verdicts, known.schema_form, known.has_probed)
        sampling = sampling_for(settings, settings.selected_steps[0].name)
        form = await probe_schema_form(client, sampling, backend_of(vlm).schema_forms, retry_policy(settings))
        return EndpointFacts(verdicts, form, has_probed=True)
    finally:
        for client in clients.values():
            await client.close()


async def _find_one(clients: Mapping[str, Client], settings: Settings) -> str:
    """The name of an endpoint that can be asked for all: the first that answers, where all serve one model. One that
    does not answer yet is not waited for where others do.

    Raises:
        ClientError: one of them turns us away, or nobody answers.
        ConfigError: they serve different models.
    """
    ends = await asyncio.gather(*map(_reach, clients.values()), return_exceptions=True)
    answering = [name for name, end in zip(clients, ends, strict=True) if end is None]
    for name, error in zip(clients, ends, strict=True):
        if error is None:
            continue
        if not answering or not isinstance(error, ClientError) or error.verdict.ends_run:
            raise error
        logger.warning("%s does not answer and is set aside until it does: %s", name, error)
    if len(clients) > 1:
        for model in {sampling_for(settings, step.name).model for step in settings.selected_steps}:
            served = {name: await clients[name].served_model(model) for name in answering}
            if different := different_models(served):
                raise ConfigError(f"{settings.autolabel_type}.{different}")
    return answering[0]


class _Reporter:
    """Passes on what is found out of a model, the reading of boxes together with the last measurement."""

    def __init__(self, model: str, on_measurement: Callable[[str, Measurement], None]) -> None:
        self._tell = partial(on_measurement, model)
        self._last: Measurement | None = None

    def measured(self, measured: Measurement) -> None:
        self._last = measured
        self._tell(measured)

    def read(self, reading: BoxReading) -> None:
        if self._last is not None:
            self._tell(dataclasses.replace(self._last, reading=reading))


async def _reach(client: Client) -> None:
    for left in reversed(range(FIRST_TRIES)):
        try:
            await client.check()
        except ClientError as error:
            if error.verdict.ends_run or left == 0:
                raise
            await asyncio.sleep(1.0)
        else:
            return
