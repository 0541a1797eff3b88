"""Between a record in the stream and its rows in the store."""

from __future__ import annotations

import dataclasses

import pytest

from raylabel.pipelines import PIPELINES
from raylabel.records import (
    IMAGE_GROUNDING,
    IMAGE_REFERRING_EXPRESSION,
    Box,
    Changes,
    Expression,
    ImageFacts,
    Instance,
    Outcome,
    Record,
    Region,
    Seed,
    Size,
    StepOutcome,
)
from raylabel.runtime.asking import StepEnd
from raylabel.runtime.rows import (
    blocked_by,
    build_row,
    drop_recomputed_fields,
    inputs_digest,
    is_same,
    provided_by_input,
    restore,
    with_stored_image,
)
from raylabel.storage.folders import Folder
from raylabel.store.results import ROW_COLUMNS, Results
from raylabel.store.tables import Table

_, EXTRACTION, GROUNDING = PIPELINES[IMAGE_GROUNDING]
REGIONS, CAPTION, GROUPS, CHECK = PIPELINES[IMAGE_REFERRING_EXPRESSION]

LABELED = StepOutcome(Outcome.LABELED)
FACTS = ImageFacts("digest", Size(640, 480), 1, "image/jpeg", True)
CAR = Region(Box(1, 2, 30, 40), "car", "red", "the red car")
EXPRESSION = Expression("e1", "red car", (0, 7), "car")
GROUNDED = dataclasses.replace(EXPRESSION, instances=(Instance("b1", Box(1.5, 2, 30, 40), None),))


def grounding_record(**fields):
    return Record("1" * 32, 0, 0, "i", "i.jpg", IMAGE_GROUNDING, image=FACTS, caption="A red car.", **fields)


def referring_record(**fields):
    brought = {"seeds": (Seed(Box(1, 2, 30, 40), "Car"),), **fields}
    return Record("1" * 32, 0, 0, "i", "i.jpg", IMAGE_REFERRING_EXPRESSION, image=FACTS, **brought)


class Store:
    """The rows of all steps of a pipeline in a real results folder."""

    def __init__(self, tmp_path, pipeline=IMAGE_GROUNDING):
        results = Results(Folder(str(tmp_path)))
        self.steps = PIPELINES[pipeline]
        self.tables = {s.directory: results.rows(s.directory) for s in self.steps}

    def put(self, step, record, changes=None, outcome=LABELED, generation=0):
        """Note how a step ended for a record as it stood; returns the record after it."""
        end = StepEnd(outcome, changes or Changes())
        self.tables[step.directory].append([build_row(step, record, end, generation, "prompt 1, reader 1")])
        return record.apply(step.label, outcome, end.changes)

    def restore(self, record, **generations):
        by_directory = {s.directory: generations.get(s.name, 0) for s in self.steps}
        return restore(record, self.steps, self.stored(record), by_directory)

    def with_image(self, record):
        return with_stored_image(record, self.steps, self.stored(record))

    def stored(self, record):
        return {directory: table.newest([record.record_id]) for directory, table in self.tables.items()}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


@pytest.fixture
def referring(tmp_path):
    return Store(tmp_path, IMAGE_REFERRING_EXPRESSION)


EXTRACTED = Changes(cleaned_caption="red car", expressions=(EXPRESSION,))

# --- restoring ------------------------------------------------------------------------------------------------------


def test_a_record_comes_back_from_the_store_as_the_steps_left_it(store):
    record = grounding_record()
    after = store.put(GROUNDING, store.put(EXTRACTION, record, EXTRACTED), Changes(expressions=(GROUNDED,)))
    assert store.restore(record) == (after, [])


def test_the_newest_row_of_a_step_counts(store):
    store.put(EXTRACTION, grounding_record(), outcome=StepOutcome(Outcome.UNREADABLE, "no", 3, "raw"))
    after = store.put(EXTRACTION, grounding_record(), EXTRACTED)
    assert store.restore(grounding_record()) == (after, [])


def test_an_open_row_comes_back_with_its_reason_attempts_and_raw_reply(store):
    outcome = StepOutcome(Outcome.UNREADABLE, "cut off", 6, "[{")
    store.put(EXTRACTION, grounding_record(), outcome=outcome)
    record, _ = store.restore(grounding_record())
    assert record.outcomes == {EXTRACTION.label: outcome}
    assert record.expressions is None


def test_what_was_counted_comes_back_with_the_row(store):
    outcome = StepOutcome(Outcome.LABELED, violations={"left_out": 2, "sentence": 1})
    store.put(EXTRACTION, grounding_record(), EXTRACTED, outcome)
    record, _ = store.restore(grounding_record())
    assert record.outcomes == {EXTRACTION.label: outcome}


def test_a_row_from_before_violations_were_counted_is_read_and_is_the_same_row_still(tmp_path):
    results = Results(Folder(str(tmp_path)))
    now = results.rows(EXTRACTION.directory)
    before = Table(
        Folder(str(tmp_path / EXTRACTION.directory / "records")), [c for c in ROW_COLUMNS if c.name != "violations"]
    )
    row = build_row(EXTRACTION, grounding_record(), StepEnd(LABELED, EXTRACTED), 0, "prompt 1, reader 1")
    before.append([{k: v for k, v in row.items() if k != "violations"}])
    now.refresh()
    stored = {EXTRACTION.directory: now.newest(["1" * 32])}
    record, stale = restore(grounding_record(), [EXTRACTION], stored, {EXTRACTION.directory: 0})
    assert (record.outcomes, stale) == ({EXTRACTION.label: LABELED}, [])
    assert is_same(row, now.last("1" * 32)), "it is not written anew"


def test_a_step_built_on_something_that_is_no_longer_so_is_left_out_and_named(store):
    record = grounding_record()
    store.put(GROUNDING, store.put(EXTRACTION, record, EXTRACTED), Changes(expressions=(GROUNDED,)))
    other = dataclasses.replace(EXPRESSION, text="car")
    now = store.put(EXTRACTION, record, Changes(cleaned_caption="red car", expressions=(other,)))
    assert store.restore(record) == (now, [GROUNDING.label])


@pytest.mark.tao_row("new inputs are ignored once an output file exists")
@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"caption": "A blue car."}, id="caption"),
        pytest.param({"image": dataclasses.replace(FACTS, digest="other")}, id="image"),
    ],
)
def test_an_edited_input_makes_its_rows_stale(store, changed):
    store.put(EXTRACTION, grounding_record(), EXTRACTED)
    record, stale = store.restore(dataclasses.replace(grounding_record(), **changed))
    assert (record.expressions, stale) == (None, [EXTRACTION.label])


def test_what_a_step_does_not_read_does_not_make_it_stale(referring):
    record = referring_record()
    referring.put(REGIONS, record, Changes(regions=(CAR,)))
    moved = dataclasses.replace(record, caption="Other.", shard=4, position=99, extra={"split": "train"})
    found, stale = referring.restore(moved)
    assert (found.regions, stale) == ((CAR,), [])


def test_a_moved_seed_makes_the_regions_stale(referring):
    referring.put(REGIONS, referring_record(), Changes(regions=(CAR,)))
    moved = dataclasses.replace(referring_record(), seeds=(Seed(Box(2, 2, 30, 40), "Car"),))
    assert referring.restore(moved)[1] == [REGIONS.label]


def test_rows_of_an_older_generation_do_not_count(store):
    store.put(EXTRACTION, grounding_record(), EXTRACTED, generation=0)
    assert store.restore(grounding_record(), expression_extraction=1) == (grounding_record(), [])
    after = store.put(EXTRACTION, grounding_record(), EXTRACTED, generation=1)
    assert store.restore(grounding_record(), expression_extraction=1) == (after, [])


def test_the_double_check_comes_on_top_of_what_it_checked(referring):
    record = referring.put(REGIONS, referring_record(), Changes(regions=(CAR,)))
    record = referring.put(GROUPS, record, Changes(expressions=(GROUNDED,)))
    checked = dataclasses.replace(GROUNDED, verified=True)
    after = referring.put(CHECK, record, Changes(expressions=(checked,)))
    assert referring.restore(referring_record()) == (after, [])


# --- the image ------------------------------------------------------------------------------------------------------


def without_image(record):
    return dataclasses.replace(record, image=None)


def test_the_facts_of_the_image_come_from_its_rows(store):
    store.put(EXTRACTION, grounding_record(), EXTRACTED)
    assert store.with_image(without_image(grounding_record())) == grounding_record()


def test_without_rows_nothing_is_known_of_the_image(store):
    bare = without_image(grounding_record())
    assert store.with_image(bare) == bare


def test_the_first_step_that_has_a_row_is_believed_however_long_the_others_tables_are(store):
    # The image was replaced and only step 0 ran again: its table is shorter, its row is newer.
    for _ in range(3):
        store.put(GROUNDING, store.put(EXTRACTION, grounding_record(), EXTRACTED))
    for _ in range(9):
        store.put(GROUNDING, grounding_record())
    other = dataclasses.replace(grounding_record(), image=dataclasses.replace(FACTS, digest="new"))
    store.put(EXTRACTION, other, EXTRACTED)
    found = store.with_image(without_image(other))
    assert found.image.digest == "new"
    assert store.restore(found)[0].expressions == (EXPRESSION,)


def test_an_image_that_is_gone_is_a_failed_record_whatever_was_known_of_it(store):
    store.put(GROUNDING, store.put(EXTRACTION, grounding_record(), EXTRACTED), Changes(expressions=(GROUNDED,)))
    gone = without_image(grounding_record())
    failed = StepOutcome(Outcome.FAILED, "i.jpg: no such file")
    store.put(EXTRACTION, gone, outcome=failed)
    found, stale = store.restore(store.with_image(gone))
    assert found.outcomes == {EXTRACTION.label: failed}
    assert stale == [GROUNDING.label]


# --- rows -----------------------------------------------------------------------------------------------------------


def test_an_unchanged_row_is_not_written_again_wherever_its_record_stands(store):
    end = StepEnd(LABELED, EXTRACTED, ("w-1",))
    row = build_row(EXTRACTION, grounding_record(), end, 0, "v")
    table = store.tables[EXTRACTION.directory]
    table.append([row])
    stored = table.last("1" * 32)
    assert is_same(row, stored)
    moved = dataclasses.replace(grounding_record(), shard=7, position=70)
    assert is_same(build_row(EXTRACTION, moved, end, 0, "v"), stored)
    assert not is_same(row, None)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"end": StepEnd(LABELED, EXTRACTED, ("w-2",))}, id="answers"),
        pytest.param({"end": StepEnd(StepOutcome(Outcome.NOTHING), EXTRACTED, ("w-1",))}, id="outcome"),
        pytest.param({"end": StepEnd(LABELED, Changes(), ("w-1",))}, id="changes"),
        pytest.param({"generation": 1}, id="generation"),
        pytest.param({"versions": "w"}, id="versions"),
        pytest.param({"record": dataclasses.replace(grounding_record(), caption="x")}, id="input"),
    ],
)
def test_a_row_that_says_something_else_is_written(store, other):
    known = {
        "record": grounding_record(),
        "end": StepEnd(LABELED, EXTRACTED, ("w-1",)),
        "generation": 0,
        "versions": "v",
    }
    table = store.tables[EXTRACTION.directory]
    table.append([build_row(EXTRACTION, **known)])
    assert not is_same(build_row(EXTRACTION, **{**known, **other}), table.last("1" * 32))


def test_the_digest_of_what_a_step_reads_tells_nothing_from_empty(store):
    assert inputs_digest(GROUNDING, grounding_record()) != inputs_digest(GROUNDING, grounding_record(expressions=()))
    assert inputs_digest(GROUNDING, grounding_record(expressions=(EXPRESSION,))) != inputs_digest(
        GROUNDING, grounding_record(expressions=(dataclasses.replace(EXPRESSION, instances=()),))
    )


def test_a_box_of_whole_pixels_is_the_same_box_before_and_after_the_store():
    def records(number):
        box = Box(*map(number, (1, 2, 30, 40)))
        instance = Instance("b1", box, original_box=box)
        yield REGIONS, referring_record(seeds=(Seed(box, "Car"),))
        yield GROUPS, referring_record(regions=(dataclasses.replace(CAR, box=box),))
        yield CHECK, referring_record(expressions=(dataclasses.replace(EXPRESSION, instances=(instance,)),))

    for (step, whole), (_, exact) in zip(records(int), records(float), strict=True):
        assert inputs_digest(step, whole) == inputs_digest(step, exact)


# --- starting anew --------------------------------------------------------------------------------------------------


def test_what_the_selected_steps_make_is_cleared_and_what_people_brought_stays():
    record = grounding_record(cleaned_caption="old", expressions=(GROUNDED,))
    assert drop_recomputed_fields(record, [EXTRACTION, GROUNDING]) == dataclasses.replace(
        record, cleaned_caption=None, expressions=None
    )


def test_step_1_alone_keeps_the_expressions_it_is_given():
    record = grounding_record(cleaned_caption="old", expressions=(EXPRESSION,))
    assert drop_recomputed_fields(record, [GROUNDING]) == record


def test_what_builds_on_a_selected_step_is_cleared_too():
    done = {s.label: LABELED for s in PIPELINES[IMAGE_REFERRING_EXPRESSION]}
    record = referring_record(regions=(CAR,), caption="Old.", expressions=(GROUNDED,), outcomes=done)
    again = drop_recomputed_fields(record, [REGIONS])
    assert (again.regions, again.expressions, again.caption) == (None, None, "Old.")
    assert list(again.outcomes) == [CAPTION.label]


def test_a_step_counts_as_brought_when_its_field_or_its_outcome_is_there():
    assert provided_by_input(REGIONS, referring_record(regions=()))
    assert provided_by_input(REGIONS, referring_record(outcomes={REGIONS.label: StepOutcome(Outcome.SKIPPED)}))
    assert not provided_by_input(REGIONS, referring_record())


# --- what bars the way ----------------------------------------------------------------------------------------------

ALL = [REGIONS, CAPTION, GROUPS, CHECK]


def ended(step, outcome):
    return {"outcomes": {step.label: StepOutcome(outcome)}}


@pytest.mark.tao_row("any subset is legal when its inputs exist")
@pytest.mark.parametrize(
    ("step", "record", "selected", "barred"),
    [
        pytest.param(REGIONS, referring_record(), ALL, None, id="everything-there"),
        pytest.param(GROUPS, referring_record(regions=(CAR,)), ALL, None, id="step-2-without-step-1s-caption"),
        pytest.param(
            GROUPS, referring_record(**ended(REGIONS, Outcome.UNREADABLE)), ALL, REGIONS.label, id="needed-step-open"
        ),
        pytest.param(
            GROUPS,
            referring_record(regions=(CAR,), **ended(CAPTION, Outcome.FAILED)),
            ALL,
            CAPTION.label,
            id="used-step-open-and-selected",
        ),
        pytest.param(
            GROUPS,
            referring_record(regions=(CAR,), **ended(CAPTION, Outcome.FAILED)),
            [GROUPS],
            None,
            id="used-step-open-and-not-selected",
        ),
        pytest.param(
            GROUPS,
            referring_record(regions=(CAR,), **ended(CAPTION, Outcome.REFUSED)),
            ALL,
            None,
            id="used-step-refused",
        ),
        pytest.param(GROUPS, referring_record(), ALL, REGIONS.label, id="needed-step-has-not-run"),
    ],
)
def test_an_open_step_bars_the_steps_that_need_it_and_no_others(step, record, selected, barred):
    assert blocked_by(step, record, selected) == barred


def test_a_settled_step_that_gave_nothing_lets_the_next_be_skipped():
    record = referring_record(**ended(REGIONS, Outcome.REFUSED))
    blocked = blocked_by(GROUPS, record, ALL)
    assert isinstance(blocked, StepOutcome)
    assert (blocked.outcome, blocked.reason) == (Outcome.SKIPPED, "no regions: step0_region_expr is refused")


def test_a_step_whose_input_nobody_ever_made_fails_and_names_the_step_to_run():
    blocked = blocked_by(CHECK, referring_record(), [CHECK])
    assert isinstance(blocked, StepOutcome)
    assert (blocked.outcome, blocked.reason) == (Outcome.FAILED, "no expressions: run step grounding_expr first")


def test_an_input_without_what_the_first_step_needs_fails():
    record = dataclasses.replace(referring_record(), seeds=None)
    blocked = blocked_by(REGIONS, record, ALL)
    assert isinstance(blocked, StepOutcome)
    assert blocked.reason == "the input has no seeds"
