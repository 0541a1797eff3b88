"""The layout of a results folder, and replies that come back as they were."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from raylabel.clients.base import Finish, Reply, Usage
from raylabel.store.results import answer_row, reply_of

REPLIES = [
    Reply("a red car", Finish.STOP, Usage(900, 600, 12, 40), "tiny-vlm", 1.5, "stop", True),
    Reply("", Finish.REFUSED, Usage(), "m", 0.0, "SAFETY"),
    Reply("[{", Finish.LENGTH, Usage(1, None, None, 8192), "m", 0.25, "MAX_TOKENS"),
    Reply("Grüße\x00\n红", Finish.OTHER, Usage(), "m", 0.1),
]


@pytest.mark.tao_row("token usage is ignored")
@pytest.mark.parametrize("reply", REPLIES)
def test_a_reply_comes_back_from_the_store_as_it_was(results, key, reply):
    row = answer_row(key(1), reply, generation=2, record_id="r", tries=3, asked_at=1.5)
    results.answers("step_1_grounding").append([row])
    table = results.answers("step_1_grounding")
    table.refresh()
    (stored,) = table.rows(key(1))
    assert reply_of(stored) == reply
    assert (stored["generation"], stored["tries"], stored["record_id"]) == (2, 3, "r")


@pytest.mark.tao_row(
    "annotations.jsonl in input order; a file for each step; seed_annotations.jsonl; checkpoints beside them"
)
def test_checkpoints_stand_beside_the_files_people_read(results, key):
    results.answers("step_1_grounding").append([{"key": key(1)}])
    results.rows("step_1_grounding").append([{"key": key(1)}])
    results.images().append([{"key": key(1)}])
    results.shards().append([{"key": key(1)}])
    root = Path(results.root.location)
    folders = {str(p.parent.relative_to(root)) for p in root.rglob("*.parquet")}
    assert folders == {
        "step_1_grounding/answers",
        "step_1_grounding/records",
        "checkpoints/images",
        "checkpoints/shards",
    }


def test_it_travels_to_other_processes(results):
    assert pickle.loads(pickle.dumps(results)) == results
