"""`dsunet serve`."""

from __future__ import annotations

from jsonargparse import Namespace

from dsunet.cli.output import print_line
from dsunet.cli.parser import Command, Parser, pick
from dsunet.config import ServeConfig

__all__ = ["SERVE"]


def _serve_arguments(parser: Parser) -> None:
    parser.add_class_arguments(ServeConfig)


def _serve(arguments: Namespace) -> int:
    from dsunet.support.packages import needing

    config = pick(ServeConfig, arguments)
    with needing("dsunet serve", extra="serve"):
        from dsunet.serve.server import serve, token_of
    is_open = config.host not in ("127.0.0.1", "localhost", "::1") and not token_of(config)

    def started(address: str) -> None:
        print_line(f"serving on {address} (Ctrl-C ends it)")
        if is_open:
            print_line(
                "note: whoever reaches this machine may use it; --token-file keeps it to few"
            )

    serve(config, started)
    return 0


SERVE = Command(
    "Serve a model over HTTP, with a page for the browser.",
    "  dsunet serve\n"
    "  dsunet serve --weights mine.onnx --port 8080 --workers 2\n"
    "  dsunet serve --host 0.0.0.0 --token-file token.txt --max-queue 64\n",
    _serve_arguments,
    _serve,
)
