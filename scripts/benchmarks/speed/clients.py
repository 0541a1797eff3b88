"""The two clients that raylabel is held against. Run as ``python -m speed.clients CLIENT ...``, a process each.

``ideal``: one event loop over bare aiohttp, pictures read and encoded before the first request, a limit a step; a
record goes on to its next step at once; nothing is stored. What cannot be beaten.

``threads``: the shape of NVIDIA TAO's auto-label: a thread pool, a blocking ``openai.OpenAI``, pictures read and
encoded for every request, all records of a step done before the next step begins, JSON lines written after each step.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from speed.questions import LEVELS, Ask, Item, build_body, load_items


def run_ideal(url: str, levels: Sequence[Sequence[Ask]], items: list[Item], workers: int) -> int:
    """Ask everything; returns the number of records that went through all steps."""
    import aiohttp

    encoded = {path: _encoded(path).encode() for path in dict.fromkeys(item["image"] for item in items)}
    headers = {"Content-Type": "application/json", "Authorization": "Bearer EMPTY"}

    async def work() -> int:
        windows = {ask.keep: asyncio.Semaphore(workers) for level in levels for ask in level}
        # Every reply must come: this client knows no second try.
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), headers=headers, raise_for_status=True
        ) as session:

            async def put(ask: Ask, item: Item) -> None:
                async with windows[ask.keep]:
                    # The parts around the picture are JSON; the picture needs no escaping.
                    before, after = json.dumps(build_body(item, "%", ask.question(item))).split("%", 1)
                    body = b"".join((before.encode(), encoded[item["image"]], after.encode()))
                    async with session.post(f"{url}/v1/chat/completions", data=body) as response:
                        reply = json.loads(await response.read())
                item[ask.keep] = json.loads(reply["choices"][0]["message"]["content"])

            async def go_through(item: Item) -> None:
                for level in levels:
                    await asyncio.gather(*(put(ask, item) for ask in level))

            await asyncio.gather(*map(go_through, items))
        return len(items)

    return asyncio.run(work())


def run_threads(url: str, levels: Sequence[Sequence[Ask]], items: list[Item], workers: int, out: Path) -> int:
    """Ask everything, step by step; returns the number of records that went through all steps."""
    import openai

    client = openai.OpenAI(base_url=f"{url}/v1", api_key="EMPTY", timeout=600)

    def put(ask: Ask, item: Item) -> None:
        body = build_body(item, _encoded(item["image"]), ask.question(item))
        reply = client.chat.completions.create(**body)
        item[ask.keep] = json.loads(reply.choices[0].message.content or "")

    for number, ask in enumerate(ask for level in levels for ask in level):
        with ThreadPoolExecutor(workers) as pool:
            for done in [pool.submit(put, ask, item) for item in items]:
                done.result()
        with (out / f"step_{number}_{ask.keep}.jsonl").open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(item) + "\n" for item in items)
    return len(items)


def _encoded(path: str) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode("ascii")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("client", choices=("ideal", "threads"))
    parser.add_argument("--url", required=True)
    parser.add_argument("--pipeline", choices=sorted(LEVELS), required=True)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--captions", type=Path)
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    items, levels = load_items(options.images, options.captions, options.labels), LEVELS[options.pipeline]
    if options.client == "ideal":
        done = run_ideal(options.url, levels, items, options.workers)
    else:
        done = run_threads(options.url, levels, items, options.workers, options.out)
    print(done)


if __name__ == "__main__":
    main()
