"""The bare noun of a phrase, from the phrase alone."""

from __future__ import annotations

import numpy as np
import pytest

from raylabel.answers.nouns import head_noun
from raylabel.demo.captions import write_caption
from raylabel.demo.scenes import draw_scene
from raylabel.demo.server.answering import extract


@pytest.mark.parametrize(
    ("phrase", "noun"),
    [
        pytest.param("two small red cars on the left", "cars", id="place"),
        pytest.param("traffic light", "light", id="compound"),
        pytest.param("a man wearing a blue T-shirt", "man", id="clothes"),
        pytest.param("man running", "man", id="what-it-does"),
        pytest.param("red running shoes", "shoes", id="what-it-is-for"),
        pytest.param("a brick building near the river", "building", id="a-noun-that-ends-in-ing"),
        pytest.param("bar along the left edge", "bar", id="edge"),
        pytest.param("a group of people", "group", id="of"),
        pytest.param("player 7", "player", id="number"),
        pytest.param("the double-decker", "double-decker", id="hyphen"),
        pytest.param("red and white bus", "bus", id="two-colors"),
        pytest.param("Red Car", "Car", id="as-it-is-written"),
        pytest.param("on", "on", id="no-noun-at-all"),
        pytest.param("42", None, id="digits"),
        pytest.param("...", None, id="marks"),
    ],
)
def test_the_noun_of_an_english_phrase(phrase, noun):
    assert head_noun(phrase, f"There is {phrase}.") == noun


@pytest.mark.parametrize(
    ("phrase", "caption", "noun"),
    [
        pytest.param("rotes Auto auf der Straße", "Ein rotes Auto auf der Straße.", "Auto", id="german"),
        pytest.param("deux petites voitures rouges", "Il y a deux petites voitures rouges.", "voitures", id="french"),
        pytest.param("un coche rojo", "Hay un coche rojo en la calle.", "coche", id="spanish"),
        pytest.param("红色的汽车", "图中有红色的汽车", "汽车", id="chinese"),
        pytest.param("赤い車", "赤い車があります", "車", id="japanese"),
        pytest.param("красная машина", "красная машина на улице", None, id="none-that-is-known"),
        pytest.param("żółty kot", "żółty kot", None, id="letters-that-are-not-english"),
        pytest.param("red car", "red car", "car", id="plain-letters-only"),
    ],
)
def test_the_caption_tells_the_language(phrase, caption, noun):
    assert head_noun(phrase, caption) == noun


def test_the_nouns_of_the_demo_world_are_those_its_model_says():
    told = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        said = extract(write_caption(draw_scene(rng), rng).caption)
        for expression in said["expressions"]:
            assert head_noun(expression["text"], said["cleaned_caption"]) == expression["noun_chunk"]
            told += 1
    assert told > 150
