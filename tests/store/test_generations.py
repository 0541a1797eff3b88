"""``force_reprocess`` asks everything anew, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from raylabel.store.generations import finish_generations, open_generations

STEPS = ["step_0_region_expr", "step_1_image_caption"]


def test_without_force_the_generation_is_0_and_nothing_is_written(results):
    assert open_generations(results, STEPS, force=False) == dict.fromkeys(STEPS, 0)
    finish_generations(results, STEPS)
    assert not Path(results.checkpoints.location).exists()


def test_force_opens_a_new_generation_before_it_returns(results):
    assert open_generations(results, STEPS, force=True) == dict.fromkeys(STEPS, 1)
    assert results.read_json(results.checkpoints, "generations.json")[STEPS[0]] == {"number": 1, "finished": False}


@pytest.mark.parametrize("force", [True, False])
def test_an_interrupted_generation_is_continued_by_the_same_command_and_kept_without_force(results, force):
    open_generations(results, STEPS, force=True)
    assert open_generations(results, STEPS, force=force) == dict.fromkeys(STEPS, 1)


@pytest.mark.tao_row("force_reprocess")
def test_a_finished_generation_is_followed_by_a_new_one_only_with_force(results):
    open_generations(results, STEPS, force=True)
    finish_generations(results, STEPS)
    assert open_generations(results, STEPS, force=False) == dict.fromkeys(STEPS, 1)
    assert open_generations(results, STEPS, force=True) == dict.fromkeys(STEPS, 2)


def test_steps_have_generations_of_their_own(results):
    open_generations(results, STEPS[:1], force=True)
    finish_generations(results, STEPS[:1])
    assert open_generations(results, STEPS, force=False) == {STEPS[0]: 1, STEPS[1]: 0}
    assert open_generations(results, STEPS[1:], force=True) == {STEPS[1]: 1}
    finish_generations(results, STEPS[1:])
    assert open_generations(results, STEPS, force=True) == {STEPS[0]: 2, STEPS[1]: 2}


def test_finishing_is_told_of_known_steps_only(results):
    open_generations(results, STEPS[:1], force=True)
    finish_generations(results, STEPS)
    assert open_generations(results, STEPS, force=True) == {STEPS[0]: 2, STEPS[1]: 1}
