"""Where MLflow keeps runs: which store, whether it can be used, and what is in it already.

Tracking may fail without loss: leaderboards read result files, never MLflow.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sqlite3
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import filelock
import sqlalchemy

from metabench.files import InputError
from metabench.shown import masked

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
# an unreachable server must not hold up results: fail fast, then use the local store
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# whose working folder has an uv.lock would find it, and pyproject.toml, in every model
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")

T = TypeVar("T")

DATABASES = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
PORTS = {"http": 80, "https": 443} | DATABASES
FIX = "Set MLFLOW_TRACKING_URI to another store, or unset it for mlflow.db in this folder"


def default_uri() -> str:
    """The local store: ``mlflow.db`` in the working directory, by its absolute path."""
    return f"sqlite:///{Path('mlflow.db').resolve()}"


def wanted_uri() -> str:
    """``MLFLOW_TRACKING_URI``, or the local store."""
    return os.environ.get("MLFLOW_TRACKING_URI") or default_uri()


def check_store(uri: str) -> None:
    """Look whether a local store is a database; MLflow's own attempts take minutes.

    Raises:
        InputError: it is a folder or another file, or cannot be opened.
    """
    scheme, _, place = uri.partition(":///")
    path = Path(place.partition("?")[0])
    if scheme != "sqlite" or not place or path == Path(":memory:"):
        return
    if not path.exists() and path.parent.is_dir() and os.access(path.parent, os.W_OK):
        return  # it will be made
    if path.is_dir():
        raise InputError(
            f"{path}: is a folder, not MLflow's database. Move it away, or set MLFLOW_TRACKING_URI"
        )
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as database:
            database.execute("PRAGMA schema_version")
    except sqlite3.Error as error:
        if "locked" not in str(error):  # in use
            reason = f"MLflow's database cannot be opened, or is no database ({error})"
            raise InputError(
                f"{path}: {reason}. Move it away, or set MLFLOW_TRACKING_URI"
            ) from error


def knock(uri: str) -> None:
    """Fail within seconds if nothing is at ``uri``, or not to be had; MLflow tries for minutes."""
    check_store(uri)
    parts = urlsplit(uri)
    scheme = parts.scheme.partition("+")[0]
    if parts.hostname and (port := parts.port or PORTS.get(scheme)):
        socket.create_connection((parts.hostname, port), timeout=5).close()
    if scheme in DATABASES:  # one attempt, where MLflow makes fifteen
        sqlalchemy.create_engine(uri).connect().close()


def safely(write: Callable[[str], T], safe: str) -> T | None:
    """``write(uri)`` to the wanted store, else to the local one; warns, never raises.

    Args:
        safe: what is on disk whatever happens, for the warning.
    """
    for uri in dict.fromkeys([wanted_uri(), default_uri()]):
        for attempt in range(2):
            try:
                knock(uri)
                return write(uri)
            except Exception as error:  # MLflow raises many kinds; none may cost a result
                reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:200]}"
                if isinstance(error, InputError):
                    break  # trying again would find the same
                time.sleep(0.5 * (attempt + 1))
        fallback = "the local store" if uri != default_uri() else "no store"
        failure = masked(f"MLflow at {uri} failed ({reason})", uri)
        warnings.warn(f"{failure}; {safe} is safe, using {fallback}.")
    return None


def origin_tags(git_commit: str) -> dict[str, str]:
    """Tags from which the UI fills its columns *source* and *version*."""
    return {
        "git_commit": git_commit,
        "mlflow.source.name": "metabench",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": git_commit.rstrip("+"),
    }


def finished_run(client: Any, experiment: str, tag: str, value: str) -> str | None:
    """Id of the finished run with this tag; runs that a crash left open are marked killed."""
    for run in client.search_runs([experiment], f"tags.{tag} = '{value}'"):
        if run.info.status == "FINISHED":
            return str(run.info.run_id)
        if run.info.status == "RUNNING":
            client.set_terminated(run.info.run_id, "KILLED")
    return None


def experiment_name(profile: str) -> str:
    """The experiment in which the runs of a profile are."""
    return f"metabench-{profile}"


def experiment_of(client: Any, profile: str) -> str:
    """The experiment's id; created once, serially: first writers on a new store would collide."""
    name, kind = experiment_name(profile), {"mlflow.experimentKind": "custom_model_development"}
    with filelock.FileLock(".mlflow.lock"):
        found = client.get_experiment_by_name(name)
        return str(found.experiment_id if found else client.create_experiment(name, tags=kind))


def look_up(uri: str, name: str) -> Any | None:
    """The experiment called ``name`` in the store at ``uri``; None: it has none.

    Raises:
        InputError: the store cannot be used.
    """
    try:
        knock(uri)
        from mlflow import MlflowClient  # takes seconds

        return MlflowClient(tracking_uri=uri).get_experiment_by_name(name)
    except InputError:
        raise
    except Exception as error:  # each kind of store raises its own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        wrong = f"MLflow's store at {uri} cannot be used ({reason}). {FIX}"
        raise InputError(masked(wrong, uri)) from None  # its text may hold what is masked here
