"""The core data types: typed values, the record that holds them, its identity, and its JSON."""

from raylabel.records.identity import (
    bbox_id as bbox_id,
    canonical_json as canonical_json,
    digest_of as digest_of,
    digest_of_json as digest_of_json,
    expression_id as expression_id,
    expression_ids as expression_ids,
    record_id as record_id,
)
from raylabel.records.record import (
    IMAGE_GROUNDING as IMAGE_GROUNDING,
    IMAGE_REFERRING_EXPRESSION as IMAGE_REFERRING_EXPRESSION,
    REPEATED_IMAGE_ID as REPEATED_IMAGE_ID,
    Changes as Changes,
    Record as Record,
    SeedFrame as SeedFrame,
    StepOutcome as StepOutcome,
    UnusableLine as UnusableLine,
)
from raylabel.records.serialization import (
    BoxWriter as BoxWriter,
    JsonObject as JsonObject,
    box_from_json as box_from_json,
    changes_to_json as changes_to_json,
    exact_box as exact_box,
    expression_to_json as expression_to_json,
    expressions_from_json as expressions_from_json,
    image_facts_to_json as image_facts_to_json,
    read_changes as read_changes,
    read_image_facts as read_image_facts,
    region_to_json as region_to_json,
    regions_from_json as regions_from_json,
    seed_from_json as seed_from_json,
    seed_to_json as seed_to_json,
)
from raylabel.records.values import (
    PERSON as PERSON,
    REJECTED as REJECTED,
    REJECTED_BY_PERSON as REJECTED_BY_PERSON,
    Box as Box,
    Expression as Expression,
    ImageFacts as ImageFacts,
    Instance as Instance,
    Outcome as Outcome,
    Region as Region,
    Seed as Seed,
    Size as Size,
)
