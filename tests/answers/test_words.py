"""What a reply in words settles: nothing but absence of what was asked for, and refusals."""

from __future__ import annotations

import pytest

from raylabel.answers.reading import ReplyKind
from raylabel.answers.words import ProseKind, classify_prose, is_error
from tests.answers.comparing import load_cases, read_case

CAR = ["red car"]
BOTH = ["red car", "blue bus"]


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("There is no red car and a blue bus is visible.", BOTH),
        ("There is no red car, the blue bus or truck is visible", BOTH),
        ("There are no red cars, but there is a red car reflected.", CAR),
        ("Neither the red car nor the blue bus is visible, only the truck.", BOTH),
        ("No, the red car is visible.", CAR),
        ("No, there is a red car in the image.", CAR),
        ("There is a red car, no?", CAR),
        ("Is there no red car?", CAR),
        ("The red car is not the only object.", CAR),
        ("There is not just one red car.", CAR),
        ("Nothing but a red car.", CAR),
        ("Not all red cars are visible.", ["red cars"]),
        ("No two red cars match.", ["red cars"]),
        ("One red car is not shown.", CAR),
        ("There is no one in the red car.", CAR),
        ("There is no red car in the left half", CAR),
        ("There are no more red cars.", CAR),
        ("There are no blue cars.", CAR),
        ("There is no red car in the image.", ["red car", "blue car"]),
        ("There is no man on the left.", ["man on the left", "man on the right"]),
        ("There is no person wearing red in the image.", ["person wearing red", "person wearing blue"]),
        ("There is no red car.", ["red car", "car"]),
        ("There are no blue objects in this image.", BOTH),
        ("图中没有左边的人。", ["左边的人", "右边的人"]),
        ("图像中有没有红色汽车。", ["红色汽车"]),
        ("赤い車は一つではありません。", ["赤い車"]),
        ("Sorry, I can't do it.", CAR),
        ("I am not able to do object detection.", CAR),
        ("Object detection failed.", CAR),
        ("No objects were specified.", CAR),
        ("No bounding boxes were provided.", CAR),
        ("The boxes are missing.", CAR),
        ("No image of the red car was provided.", CAR),
        ("I don't see any image in which to find the red car.", CAR),
        ("The whole red car is not visible.", CAR),
        ("I can't see both red cars.", CAR),
        ("I have not looked for the red car.", CAR),
        ("There is no cart.", CAR),
        ("There is no bush in the image.", ["bus"]),
        ("There are no pandas.", ["pan"]),
        ("There is no man with a hat.", ["man", "hat"]),
        ("There are no flowers in the flower pot.", ["flower pot"]),
        ("There is no hat on the man.", ["man"]),
        ("Based on the image provided, the red car is visible.", CAR),
        ("No. It is a red car.", CAR),
        ("None of the two red cars is blue.", CAR),
        ("I can't see the image.", CAR),
        ("No image was provided.", CAR),
        ("There is no picture.", ["picture frame"]),
        ("It is not clear.", CAR),
        ("Es gibt kein rotes Auto und ein blauer Bus ist zu sehen.", ["rotes Auto", "blauer Bus"]),
        ("Pas de problème, la voiture est là.", ["voiture"]),
        ("No hay problema.", ["coche rojo"]),
        ("没有红车，有蓝车。", ["红车", "蓝车"]),
        ("不是没有红车", ["红车"]),
        ("赤い車はありますが、人はいません。", ["赤い車"]),
        ("人はいません。", ["赤い車"]),
    ],
)
def test_what_is_not_about_all_that_was_asked_settles_nothing(text, asked):
    assert classify_prose(text, asked) is ProseKind.UNCLEAR


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("There is no car.", CAR),
        ("It appears that there is no red car in the image.", CAR),
        ("I'm unable to find a red car in this picture.", CAR),
        ("There doesn't seem to be a red car.", CAR),
        ("Der rote Bus ist auf dem Bild nicht zu sehen.", ["roter Bus"]),
        ("Es befindet sich kein Hund im Bild.", ["Hund"]),
        ("There are no ponies or geese.", ["pony", "goose"]),
        ("Based on the image provided, there is no red car.", CAR),
        ('There are no instances of "red car" in this image.', CAR),
        ("I don't see any of those three objects in the picture.", ["cup", "jug", "pan"]),
        ("There are no cups, jugs or pans.", ["cup", "jug", "pan"]),
        ("There is neither a red car nor a blue bus in this image.", BOTH),
        ("No red cars or blue buses are visible.", BOTH),
        ("Sorry, I couldn't find any of the requested objects.", BOTH),
        ("The man in the blue shirt is not visible in the image.", ["the man in the blue shirt"]),
        ("Es ist kein rotes Auto zu sehen.", ["rotes Auto"]),
        ("Aucune voiture n'est visible sur l'image.", ["voiture rouge"]),
        ("No se ve ningún coche.", ["coche rojo"]),
        ("图中没有红车。", ["红车"]),
        ("赤い車は写っていません。", ["赤い車"]),
    ],
)
def test_a_clear_absence_of_all_that_was_asked_is_believed(text, asked):
    assert classify_prose(text, asked) is ProseKind.NOTHING


def test_no_absence_is_invented_and_hardly_one_overlooked_in_six_languages():
    cases = [
        c for c in load_cases("field.jsonl") if c["id"].startswith(("abs", "ab2-", "no-", "yes-")) and c.get("asked")
    ]
    read = [(case, read_case(case).kind) for case in cases if case["kind"] and case.get("weight") != 0]
    assert [c["id"] for c, kind in read if kind is ReplyKind.NOTHING and c["outcome"] != "nothing"] == []
    missed = [c["id"] for c, kind in read if kind is not ReplyKind.NOTHING and c["outcome"] == "nothing"]
    assert len(missed) <= 3, missed
    assert len(read) > 350


@pytest.mark.parametrize(
    "text",
    ["A man who cannot share his umbrella.", "Sorry, there are no traffic lights.", "The sign says: I am sorry."],
)
def test_people_who_cannot_do_something_are_no_refusal(text):
    assert classify_prose(text) is not ProseKind.REFUSED


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Error: model not found", True),
        ("upstream: no healthy instances found", True),
        ("503 Service Unavailable", True),
        ("Internal Server Error", True),
        ("The server is overloaded, please retry later.", True),
        ("CUDA out of memory. Tried to allocate 2 GiB", True),
        ("A waiter serves two plates at a table by the window.", False),
        ("A tennis server throws the ball up.", False),
        ("Two people look at a road sign with the number 404.", False),
    ],
)
def test_the_text_of_an_error_is_told_from_a_description(text, error):
    assert is_error(text) is error
