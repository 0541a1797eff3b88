"""What a run is to do: found out before anything is asked about a record."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from raylabel.clients.endpoints import with_key
from raylabel.errors import ClientError, InputError
from raylabel.probing.endpoint import probe_endpoint
from raylabel.probing.facts import EndpointFacts, is_complete, load_facts, save_facts, warnings
from raylabel.runtime.confirming import check_repeats
from raylabel.runtime.costs import Costs
from raylabel.runtime.executor import Executor
from raylabel.runtime.first_look import look_at_input
from raylabel.runtime.plan import SHARD_RECORDS
from raylabel.runtime.preparing import build_spec, shard_digests
from raylabel.runtime.progress import Progress
from raylabel.runtime.sampled import Sample
from raylabel.runtime.shared_data import seen_from_here
from raylabel.runtime.shutdown import TermInterrupts
from raylabel.runtime.spec import RunSpec
from raylabel.runtime.work_list import Chosen, Wanted, choose
from raylabel.settings import Settings
from raylabel.sources import Shard, SourceSpec, scan
from raylabel.store.results import Results, settled_shards


@dataclass(frozen=True)
class How:
    """What a run is told beside its settings; see ``raylabel.runtime.run.run``."""

    limit: int | None
    wanted: Wanted | None
    sample: Sample | None
    reread: bool
    confirmed: bool
    replace: bool
    quiet: bool
    progress: str | None


@dataclass(frozen=True)
class Plan:
    """What is left to do, given what is known of the endpoint.

    Args:
        settled: numbers of the shards that need nothing more.
        chosen: the records of a retry.
    """

    spec: RunSpec
    shards: Sequence[Shard]
    digests: list[str]
    todo: list[Shard]
    settled: set[int]
    known: EndpointFacts
    chosen: Chosen | None = None


@dataclass(frozen=True)
class Planner:
    """Looks at the input, at what is stored and at the endpoint, in this order.

    Args:
        terms: taken over again once the executor was entered.
        say: tells the user.
    """

    settings: Settings
    results: Results
    executor: Executor
    how: How
    costs: Costs
    progress: Progress
    terms: TermInterrupts
    say: Callable[[str], None]

    def prepare(self, source: SourceSpec, unsettled: frozenset[int], stack: ExitStack) -> Plan:
        """What is to be done.

        Args:
            unsettled: shards that count as settled, and have lost rows.
            stack: enters the executor where something is to be asked.

        Raises:
            ClientError: the endpoint turns us away, or nobody answers.
            ConfigError, InputError: the user can mend it.
        """

        def plan_with(known: EndpointFacts) -> Plan:
            return self._plan(source, shards, known, unsettled)

        shards = list(self._scan(source))
        if self.settings.limits.max_cost_usd is not None and not self.how.reread:
            self.costs.required()
        known = load_facts(self.settings, self.results)
        plan = plan_with(known) if is_complete(self.settings, known) else None
        if plan is not None and (self.how.reread or not plan.todo):
            stack.enter_context(self.executor)
            return plan
        if self.how.reread:
            raise InputError(
                f"results_dir: {self.results.root.location} knows nothing of the model as this specification has it, "
                "so there are no replies to read again; give the specification of the run"
            )
        if plan is not None:
            self._check_repeats(plan)
        self.executor.check()  # before anything is paid for
        stack.enter_context(self.executor)
        self.terms.renew()
        if self.executor.is_elsewhere:
            self.executor.check_data(seen_from_here(self.results, source, shards[0].path, self.how.limit))
        found = self._probe_endpoint(known)
        if plan is None or found != known:
            plan = plan_with(found)
            self._check_repeats(plan)
        return plan

    def _scan(self, source: SourceSpec) -> Iterator[Shard]:
        work_dir = self.results.checkpoints / "input"
        for shard in scan(source, SHARD_RECORDS, work_dir.location, note=self.say):
            if shard.number == 0:  # before all the others are looked up
                look_at_input(self.settings, self.results, source, shard.path, self.how.limit)
            yield shard

    def _plan(
        self, source: SourceSpec, shards: Sequence[Shard], known: EndpointFacts, unsettled: frozenset[int]
    ) -> Plan:
        how = self.how
        sample = None if how.sample is None else how.sample.places(sum(shard.count for shard in shards))
        spec = build_spec(self.settings, self.results, source, known, how.limit, sample=sample, replay_only=how.reread)
        digests = shard_digests(spec, shards)
        noted = settled_shards(self.results)
        settled = {shard.number for shard, key in zip(shards, digests, strict=True) if key in noted} - unsettled
        if how.wanted is not None:
            chosen = choose(how.wanted, spec, shards)
            only = dataclasses.replace(spec, only=chosen.ids)
            others = {s.number for s in shards} - {s.number for s in chosen.shards}
            return Plan(only, shards, digests, chosen.shards, others, known, chosen)
        settled = set() if how.reread else settled
        todo = [s for s in shards if s.number not in settled and spec.taken(s)]
        return Plan(spec, shards, digests, todo, settled, known)

    def _check_repeats(self, plan: Plan) -> None:
        """See that what a changed specification asks again is meant, and say what it is.

        Raises:
            ConfigError: it is too much to go without saying.
        """
        if self.how.wanted is None and not self.how.reread and not self.settings.pipeline.workflow.force_reprocess:
            most = 0 if self.how.confirmed else self.settings.limits.confirm_requests
            if repeated := check_repeats(plan.spec, plan.shards, plan.todo, most):
                self.say(repeated)

    def _probe_endpoint(self, known: EndpointFacts) -> EndpointFacts:
        """Find out what is not known of the endpoint, and show it."""
        self.progress.enter_phase("asking the endpoint what it is, and how its model writes boxes")
        if self.settings.serve.is_used:  # the executor knows where
            found = self.executor.probe_endpoint(self.settings, known)
        else:
            found = self._probe_from_here_or_there(known)
        self.progress.enter_phase("looking at what is stored")
        save_facts(self.settings, self.results, found)
        for verdict in found.verdicts.values():
            self.say(verdict.describe())
        for sentence in warnings(self.settings, found):
            self.say(sentence)
        return found

    def _probe_from_here_or_there(self, known: EndpointFacts) -> EndpointFacts:
        try:
            return probe_endpoint(self.settings, with_key(self.settings.pipeline.vlm, os.environ), known)
        except ClientError as error:
            if error.verdict.ends_run or not self.executor.is_elsewhere:
                raise
            # The endpoint may be one that only the cluster's nodes see.
            return self.executor.probe_endpoint(self.settings, known)
