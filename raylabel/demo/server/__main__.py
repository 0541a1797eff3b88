"""``python -m raylabel.demo.server``: serve until stopped; one JSON line with the URL says that it is ready."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from raylabel.demo.server.dialects import DIALECTS, MAX_PIXELS
from raylabel.demo.server.faults.plan import BadSpecification, Plan
from raylabel.demo.server.faults.specification import GRAMMAR, read_plan, read_plan_file
from raylabel.demo.server.http_server import HERE, DemoServer, ServerOptions
from raylabel.demo.server.ledger import Ledger
from raylabel.demo.server.structured import SCHEMA_MODES

DEFAULT_MODEL = "raylabel-demo-vlm"


def read_arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command, from ``sys.argv`` unless given.

    Raises:
        SystemExit: one is wrong; a message stands on stderr.
    """
    parser = argparse.ArgumentParser(
        prog="python -m raylabel.demo.server",
        description="A VLM server for drawn scenes: it decodes the picture it is sent and looks at its pixels.",
        epilog=f"{GRAMMAR}\n\n"
        "examples:\n"
        "  python -m raylabel.demo.server --port 8765 --boxes xyxy1000\n"
        '  python -m raylabel.demo.server --faults "500 5%; truncated 3%; limit 120/minute; away from 20 for 30"',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="0 (default): any free port; see the line on stdout")
    parser.add_argument("--host", default=HERE, help="address to listen on; default: %(default)s, this machine only")
    parser.add_argument(
        "--boxes", choices=["auto", *DIALECTS], default="auto", help="box dialect; auto: native to the protocol"
    )
    parser.add_argument(
        "--max-pixels", type=int, default=MAX_PIXELS, help="largest picture that qwen2.5-vl sees (default %(default)s)"
    )
    parser.add_argument(
        "--noise", type=_share, default=0.0, metavar="P", help="0 to 1: overlook objects, see false ones (default 0)"
    )
    parser.add_argument("--think", action="store_true", help="begin every free answer with <think>drafts</think>")
    reading = parser.add_mutually_exclusive_group()
    reading.add_argument(
        "--reads", choices=list(DIALECTS), default="", help="dialect in which boxes of a question are read, if another"
    )
    reading.add_argument("--blind", action="store_true", help="boxes of a question cannot be read at all")
    parser.add_argument(
        "--schema",
        choices=SCHEMA_MODES,
        default=SCHEMA_MODES[0],
        help="which structured output is taken: OpenAI's and Gemini's usual fields (json_schema, the default), vLLM's"
        " field only, Gemini's responseSchema only; or ignored, rejected, obeyed with emptied boxes",
    )
    parser.add_argument("--reports-model", default="", metavar="NAME", help="the name given in listings and replies")
    parser.add_argument("--model-root", default="", metavar="PATH", help="root of the model in /v1/models, as vLLM's")
    parser.add_argument("--model", default="", help="answer to this model name only (default: to any)")
    parser.add_argument("--api-key", default="", help="ask for this key (default: none)")
    parser.add_argument("--latency-ms", type=float, default=0.0, help="mean time an answer takes at least")
    parser.add_argument(
        "--allowed-local-media-path",
        type=_folder,
        metavar="DIR",
        help="read pictures in this folder that questions name by file:// addresses, as vLLM does",
    )
    parser.add_argument(
        "--slots",
        type=int,
        default=0,
        metavar="N",
        help="work on so many requests at a time, let the others wait, and tell of it in /metrics by vLLM's names",
    )
    parser.add_argument(
        "--faults", type=_plan, metavar="SPEC", help="fail on demand, and count each question in /stats; see below"
    )
    parser.add_argument("--journal", type=Path, help="append one JSON line per answered request")
    parser.add_argument("--ready-file", type=Path, help="write the ready line here too, by rename")
    parser.add_argument("--exit-with-parent", action="store_true", help="stop when the starting process is gone")
    return parser.parse_args(words)


def build_server(args: argparse.Namespace) -> DemoServer:
    """A server that listens from here on; ``serve_forever`` answers."""
    options = ServerOptions(
        host=args.host,
        boxes=args.boxes,
        model=args.model or DEFAULT_MODEL,
        strict_model=bool(args.model),
        api_key=args.api_key,
        latency_ms=args.latency_ms,
        schemas=args.schema,
        reports_model=args.reports_model,
        model_root=args.model_root,
        max_pixels=args.max_pixels,
        noise=args.noise,
        thinks=args.think,
        reads=args.reads,
        blind=args.blind,
        slots=args.slots,
        folder=args.allowed_local_media_path,
    )
    if args.faults is None:
        return DemoServer(args.port, options, Ledger(args.journal))
    from raylabel.demo.server.faults.server import FaultyServer

    return FaultyServer(args.port, options, Ledger(args.journal), args.faults)


def main() -> None:
    """Read the arguments, listen, serve."""
    args = read_arguments()
    if args.exit_with_parent:
        _exit_with_parent()
    server = build_server(args)
    ready = json.dumps(
        {"url": server.url, "port": server.server_address[1], "pid": os.getpid(), "model": server.options.model}
    )
    if args.ready_file is not None:
        partial = args.ready_file.with_name(args.ready_file.name + ".partial")
        partial.write_text(ready + "\n", encoding="utf-8")
        partial.replace(args.ready_file)
    print(ready, flush=True)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        server.serve_forever(poll_interval=0.1)
    except KeyboardInterrupt:
        sys.exit(130)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"must be between 0 and 1, found {text}")
    return value


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return Path(text).resolve()


def _plan(text: str) -> Plan:
    """What is to go wrong: from the words, or from the file that they name."""
    try:
        if text.endswith((".yaml", ".yml", ".json")):
            return read_plan_file(Path(text).read_text(encoding="utf-8"))
        return read_plan(text)
    except (BadSpecification, OSError) as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _exit_with_parent() -> None:
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(0)

    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


if __name__ == "__main__":
    main()
