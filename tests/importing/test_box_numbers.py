"""Whether numbers are pixels or a grid: told where it can be, refused where it cannot."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from raylabel.geometry import XYXY_1000, XYXY_PIXELS, Convention
from raylabel.importing.box_numbers import Evidence
from raylabel.records import Size

SMALL = (Size(640, 480), Size(612, 408), Size(427, 640))
LARGE = (Size(1920, 1280), Size(4032, 3024), Size(1242, 375))
UNTOLD = Size(1920, 1080)

Numbers = tuple[float, float, float, float]


def boxes(rng: random.Random, size: Size, *, grid: bool, told: Size) -> list[Numbers]:
    """A few boxes of objects anywhere in an image, one in eight at its border, as the original cuts them off."""
    found: list[Numbers] = []
    for _ in range(rng.randint(1, 6)):
        width, height = rng.uniform(0.05, 0.5), rng.uniform(0.05, 0.5)
        x, y = (rng.choice([rng.uniform(0, 1 - side)] * 7 + [1 - side]) for side in (width, height))
        scale_x, scale_y = (1000, 1000) if grid else (size.width, size.height)
        x1, y1, x2, y2 = x * scale_x, y * scale_y, (x + width) * scale_x, (y + height) * scale_y
        found.append((int(x1), int(y1), min(told.width, int(x2)), min(told.height, int(y2))))
    return found


@pytest.mark.parametrize("told", [True, False], ids=["told-sizes", "untold"])
@pytest.mark.parametrize("sizes", [SMALL, LARGE, SMALL + LARGE], ids=["small", "large", "mixed"])
@pytest.mark.parametrize("grid", [False, True], ids=["pixels", "grid"])
def test_sixty_images_tell(grid: bool, sizes: Sequence[Size], told: bool) -> None:
    for seed in range(20):
        rng, evidence = random.Random(seed), Evidence()
        for _ in range(60):
            size = rng.choice(sizes)
            limit = size if told else UNTOLD
            evidence.add(boxes(rng, size, grid=grid, told=limit), size)
        convention, why = evidence.conclude()
        assert convention == (XYXY_1000 if grid else XYXY_PIXELS), (seed, evidence)
        assert why


@pytest.mark.parametrize("sizes", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("grid", [False, True], ids=["pixels", "grid"])
@pytest.mark.parametrize("count", [1, 2, 5, 10, 20])
def test_few_images_are_not_told_wrong(grid: bool, sizes: Sequence[Size], count: int) -> None:
    wrong = 0
    for seed in range(500):
        rng, evidence = random.Random(seed), Evidence()
        for _ in range(count):
            size = rng.choice(sizes)
            evidence.add(boxes(rng, size, grid=grid, told=size), size)
        wrong += evidence.conclude()[0] == (XYXY_PIXELS if grid else XYXY_1000)
    assert wrong == 0


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        pytest.param([], XYXY_PIXELS, id="no-boxes"),
        pytest.param([((10, 10, 50, 50), Size(640, 480))], None, id="one-box-fits-both"),
        pytest.param([((10, 10, 1500, 50), Size(1920, 1080))], None, id="one-image-is-too-few"),
        pytest.param([((10, 10, 1500, 50), Size(1920, 1080))] * 2, XYXY_PIXELS, id="over-1000"),
        pytest.param([((10, 10, 800, 50), Size(640, 480))] * 2, XYXY_1000, id="beyond-the-image"),
        pytest.param(
            [((10, 10, 800, 50), Size(640, 480)), ((10, 10, 1500, 50), Size(1920, 1080))] * 2, None, id="neither"
        ),
        pytest.param([((10, 10, 500, 500), Size(1000, 1000))] * 50, None, id="images-of-1000"),
    ],
)
def test_what_decides(images: list[tuple[Numbers, Size]], expected: Convention | None) -> None:
    evidence = Evidence()
    for box, size in images:
        evidence.add([box], size)
    assert evidence.conclude()[0] == expected
