"""The command that serves a model by HTTP."""

import gc
import os
from pathlib import Path

from refsr.commands.command import Command, Options, Parser
from refsr.commands.sharing import add_realism
from refsr.errors import RefsrError
from refsr.io.paths import path_option, path_text

TOKEN = "REFSR_TOKEN"  # noqa: S105  the variable's name
_SHORTEST = 16  # characters of a token
_MIB = 2**20


def _options(parser: Parser) -> None:
    parser.add_argument(
        "--model",
        type=path_text,
        default="models:/refsr@champion",
        help="registered version, whose alias is followed, or checkpoint file",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address (default: 127.0.0.1)")
    parser.add_argument(
        "--port", type=int, default=8000, help="port (default: 8000; 0: a free one)"
    )
    parser.add_argument(
        "--token-file",
        type=path_option,
        help=f"file with the bearer token of clients (default: {TOKEN} of the environment); "
        "needed unless --host is of loopback",
    )
    add_realism(parser)
    _add_limits(parser)


def _add_limits(parser: Parser) -> None:
    group = parser.add_argument_group("limits")
    for name, kind, default, text in (
        ("--queue", int, 8, "requests that wait or run; one more is answered with 429"),
        ("--timeout", float, 60.0, "seconds for a request"),
        ("--max-body", int, 32, "MiB of a request"),
        ("--max-pixels", int, 25_000_000, "of each photo"),
        ("--poll", float, 10.0, "seconds between two looks at the alias"),
    ):
        group.add_argument(name, type=kind, default=default, help=f"{text} (default: {default})")
    group.add_argument(
        "--threads",
        type=int,
        help="requests that run at once (default: as many as cores, or OMP_NUM_THREADS)",
    )
    group.add_argument(
        "--device",
        choices=("cpu", "cuda", "auto"),
        default="cpu",
        help="where the network runs (default: cpu)",
    )


def serve(options: Options) -> None:
    """Serve a model until SIGTERM."""
    for name in ("queue", "threads", "timeout", "max_body", "max_pixels", "poll"):
        value = getattr(options, name)
        if value is not None and not 0 < value < 1e12:
            raise RefsrError(f"--{name.replace('_', '-')} {value:g}: a number above 0 is expected")
    if not 0 <= options.port < 65536:
        raise RefsrError(f"--port {options.port}: a number from 0 to 65535 is expected")
    token = _token(options.token_file)
    gc.disable()  # until the server has loaded, which takes a seventh less; `serve` enables it
    try:
        _serve(options, token)
    finally:
        gc.enable()


def _serve(options: Options, token: str) -> None:
    import torch

    from refsr.service.server import serve
    from refsr.service.settings import Settings

    serve(
        Settings(
            model=options.model,
            host=options.host,
            port=options.port,
            token=token,
            queue=options.queue,
            threads=options.threads or torch.get_num_threads(),
            timeout=options.timeout,
            max_bytes=options.max_body * _MIB,
            max_pixels=options.max_pixels,
            poll=options.poll,
            device=options.device,
            realism=options.realism,
        )
    )


def _token(file: Path | None) -> str:
    """The token of a file, else that of the environment; empty without one."""
    token = os.environ.get(TOKEN, "") if file is None else file.read_text(encoding="utf-8")
    token, source = token.strip(), TOKEN if file is None else str(file)
    if (token or file) and (len(token) < _SHORTEST or not token.isascii() or " " in token):
        expected = f"a token of at least {_SHORTEST} characters without spaces is expected"
        raise RefsrError(f"{source}: {expected}, for example the output of `openssl rand -hex 24`")
    return token


COMMANDS = (
    Command(
        name="serve",
        help="serve a model by HTTP, with a page to try it on",
        example="serve --model models:/refsr@champion --port 8000",
        add_options=_options,
        run=serve,
    ),
)
