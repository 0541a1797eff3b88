"""Whether endpoints serve one model, as all of a pool must."""

from __future__ import annotations

from collections.abc import Mapping

from raylabel.clients.base import ServedModel


def different_models(served: Mapping[str, ServedModel]) -> str:
    """One sentence on two endpoints that serve different models; empty where all may serve one.

    What an endpoint does not say is no difference, and neither is the folder that a server has the weights in.

    Args:
        served: by the name of the endpoint, what each says.

    >>> different_models({"a:1": ServedModel("vlm", "/weights/qwen-7b"), "b:1": ServedModel("vlm", "/mnt/qwen-7b/")})
    ''
    >>> print(different_models({"a:1": ServedModel("qwen-7b"), "b:1": ServedModel("gemma-4b")}))
    vlm.openai.base_url: all endpoints must serve one model, but a:1 serves "qwen-7b" and b:1 serves "gemma-4b"
    """
    names = list(served)
    for place, name in enumerate(names):
        for other in names[:place]:
            one, two = served[other], served[name]
            if one.name and two.name and one.name != two.name:
                return _sentence(other, one.name, name, two.name)
            if one.weights and two.weights and _last(one.weights) != _last(two.weights):
                return _sentence(other, one.weights, name, two.weights)
    return ""


def _last(weights: str) -> str:
    """The model's own name: the end of its path or hub name."""
    return weights.rstrip("/").rpartition("/")[2].casefold()


def _sentence(one: str, model: str, other: str, other_model: str) -> str:
    return (
        f'vlm.openai.base_url: all endpoints must serve one model, but {one} serves "{model}" and {other} serves '
        f'"{other_model}"'
    )
