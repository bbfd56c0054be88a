"""MLflow's user interface, which ends when the command does."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from metabench import shown
from metabench.cli.base import ELSEWHERE, command, config_in_use, say
from metabench.files import InputError


@command("Results")
def ui(
    port: Annotated[int, typer.Option(min=1, max=65535, help="port on this machine")] = 5000,
    browse: Annotated[bool, typer.Option("--open", help="open the page in a browser")] = False,
) -> None:
    """Show the runs of this folder, or of MLFLOW_TRACKING_URI, in the MLflow UI."""
    from metabench.tracking.store import check_store, wanted_uri
    from metabench.tracking.view import page_of

    uri, profile = wanted_uri(), None
    with contextlib.suppress(InputError):  # what is wrong with params.yaml does not matter here
        profile = config_in_use().profile
    if uri.startswith("http"):
        page = page_of(uri, profile)
        say(f"{shown.masked(uri).rstrip('/')}{page}")
        if browse:
            webbrowser.open(f"{uri.rstrip('/')}{page}")
        return
    if not os.environ.get("MLFLOW_TRACKING_URI") and not Path("mlflow.db").exists():
        raise InputError(f"no mlflow.db here: {ELSEWHERE}, after `dvc repro`")
    check_store(uri)
    _check_port(port)
    page = page_of(uri, profile)
    say(f"http://127.0.0.1:{port}{page}  (Ctrl-C to stop)")
    if browse:
        threading.Thread(target=_open, args=(port, page), daemon=True).start()
    _serve(uri, port)


def _open(port: int, page: str) -> None:
    """Show the page in a browser as soon as the server answers."""
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            webbrowser.open(f"http://127.0.0.1:{port}{page}")
            return
        time.sleep(0.2)


def _serve(uri: str, port: int) -> None:
    """Run MLflow's server until it ends, or is told to."""
    # by the environment: a list of processes shows everybody what is on a command line
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"} | os.environ
    environment["MLFLOW_BACKEND_STORE_URI"] = uri
    call = [sys.executable, "-c", _SERVE, "ui", "--workers", "1", "--port", str(port)]
    # a group of its own: on Ctrl-C every process of the server would print a traceback
    process = subprocess.Popen(call, start_new_session=True, env=environment, stdin=subprocess.PIPE)
    try:
        with _ended_by(signal.SIGTERM, signal.SIGHUP):
            process.wait()
        raise InputError("the server has ended; what it says above tells why")
    except KeyboardInterrupt:
        say("stopped")
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, subprocess.TimeoutExpired):
                os.killpg(process.pid, number)
                process.wait(timeout=10)


_SERVE = """
import os, signal, threading
def end_with_parent():
    os.read(0, 1)
    os.killpg(0, signal.SIGTERM)
threading.Thread(target=end_with_parent, daemon=True).start()
from mlflow.cli import cli
cli(prog_name="mlflow")
"""
"""MLflow's command; the pipe from the parent ends when the parent does, however that was."""


def _check_port(port: int) -> None:
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            reason = "is taken" if error.errno == errno.EADDRINUSE else f"({error.strerror})"
            raise InputError(f"port {port} {reason}: pass another one with --port") from error


@contextlib.contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[None]:
    """Within it these signals end the command as they would, but by an exception."""

    def end(number: int, frame: object) -> None:
        sys.exit(128 + number)

    heard = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heard}  # nohup ignores SIGHUP
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
