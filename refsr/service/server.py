"""Run the service until SIGTERM, which lets requests in flight end."""

import contextlib
import gc
import logging
import os
import socket
from collections.abc import Iterator

import numpy as np
import torch
import uvicorn

from refsr import log
from refsr.curation.alignment import CHIP
from refsr.curation.face_models import embed_faces
from refsr.errors import RefsrError, StoppedError
from refsr.inference import faces
from refsr.inference.library import Upscaler
from refsr.inference.photo import upscale_photo
from refsr.service.api import create_app
from refsr.service.following import Following
from refsr.service.settings import LOOPBACK, Settings

_logger = logging.getLogger(__name__)
_IDLE = 75  # seconds; proxies, which keep connections for 60, are to close them first
_DRAIN = 5.0  # seconds beyond the time limit of a request


def serve(settings: Settings) -> None:
    """Load the model, listen, and answer until the process is stopped.

    Raises:
        RefsrError: There is no such model, the port is taken, or there is no token for an address
            that other machines reach.
    """
    _require_token(settings)
    _share_cores(settings.threads)
    with _listening(settings) as listener:
        server = server_of(settings, Following(settings, warm_up))
        _keep()
        log.adopt("uvicorn", "uvicorn.error", "uvicorn.access")
        listener.listen()  # who reads the next line may connect
        _logger.info("serving at %s", _address(listener))
        with contextlib.suppress(StoppedError):  # uvicorn raises the signal anew when it is done
            server.run(sockets=[listener])
        _logger.info("stopped; no request is left")


def server_of(settings: Settings, following: Following) -> uvicorn.Server:
    """What answers on a socket, until SIGTERM or its `should_exit`."""
    config = uvicorn.Config(
        create_app(settings, following),
        access_log=False,
        log_config=None,
        server_header=False,
        ws="none",
        timeout_keep_alive=_IDLE,
        timeout_graceful_shutdown=round(settings.timeout + _DRAIN),
    )
    return uvicorn.Server(config)


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def warm_up(model: Upscaler) -> None:
    """Load every network that a request needs, so that the first one does not wait for it."""
    blank = np.zeros((CHIP, CHIP, 3), np.uint8)
    faces.detect(blank)
    embed_faces(blank[None])
    small = blank[: model.lr_size, : model.lr_size]
    upscale_photo(model, small, [blank] if model.uses_reference else [], crop=True)


def _share_cores(threads: int) -> None:
    """Requests that run at once do more than the cores together for one: networks are small."""
    own = max(1, torch.get_num_threads() // threads)
    torch.set_num_threads(own)
    os.environ["OMP_NUM_THREADS"] = str(own)  # of ONNX Runtime: see onnx_upscaler


def _keep() -> None:
    """The garbage collector never looks at what was loaded: it stays as long as the process.

    It was off meanwhile: see refsr.commands.serving.
    """
    gc.freeze()
    gc.enable()


def _require_token(settings: Settings) -> None:
    if settings.host not in LOOPBACK and not settings.token:
        raise RefsrError(
            f"--host {settings.host}: other machines reach it, so that a token is needed: pass "
            "--token-file FILE, or set REFSR_TOKEN"
        )


@contextlib.contextmanager
def _listening(settings: Settings) -> Iterator[socket.socket]:
    """The port is taken at once, so that one that is in use is known before a model is loaded."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
        except OSError as error:
            reason = f"cannot be listened on: {error.strerror}"
            raise RefsrError(f"{settings.host}:{settings.port} {reason}") from error
        yield listener
