"""From public files to arrays: fetch with checks, build, save."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pooch
import requests

from metabench import rng
from metabench.data.base import Builder, RemoteFile
from metabench.files import InputError, atomic, digest, write_json

MIRROR = "METABENCH_MIRROR"
RETRIES = 2

_log = logging.getLogger(__name__)


def fetch(builder: Builder, folder: Path) -> None:
    """Bring every file of ``builder`` into ``folder``, whole and with the right hash, or fail.

    A file that is there and right is left alone; one that is there and wrong is reported and
    replaced. ``METABENCH_MIRROR/<mirror or name>/<file>`` is taken before the network is asked.

    Raises:
        InputError: a file cannot be had, or has the wrong hash.
    """
    for file in builder.files:
        target = folder / file.name
        if target.exists():
            if pooch.hashes.hash_matches(target, file.hash):
                continue
            _log.warning("%s: wrong or cut off, fetched again", target)
        source = mirrored(f"{builder.mirror or builder.name}/{file.name}")
        if source is None:
            download(file, target, builder.mirror or builder.name)
        elif pooch.hashes.hash_matches(source, file.hash):
            with atomic(target) as temporary:
                shutil.copyfile(source, temporary)
        else:
            raise InputError(
                f"{source}: wrong hash, expected {file.hash}. Replace this copy of {file.url} or "
                f"unset {MIRROR}."
            )


def mirrored(place: str) -> Path | None:
    """``METABENCH_MIRROR/place``, if a mirror is set and has it."""
    root = os.environ.get(MIRROR)
    path = Path(root) / place if root else None
    return path if path and path.exists() else None


def download(file: RemoteFile, target: Path, mirror: str) -> None:
    """Download to a temporary name; only what has the right hash takes the name ``target``.

    Raises:
        InputError: offline, refused, cut off or another content, after some attempts.
    """
    store = pooch.create(
        path=target.parent,
        base_url="",
        registry={file.name: file.hash},
        urls={file.name: file.url},
        retry_if_failed=RETRIES,
    )
    try:
        store.fetch(
            file.name, downloader=pooch.HTTPDownloader(progressbar=sys.stderr.isatty(), timeout=30)
        )
    except (ValueError, requests.RequestException) as error:
        raise InputError(
            f"cannot download {file.url} to {target}: {error}. Check the connection, or put the "
            f"file at <folder>/{mirror}/{file.name} and set {MIRROR}=<folder>."
        ) from error


def prepare(builder: Builder, raw: Path, folder: Path, split: int = 0) -> str:
    """Fetch, build and save a ``split`` of a dataset in ``folder``.

    Returns:
        The digest of its content.

    Raises:
        InputError: see :func:`fetch`; or what was fetched cannot be read.
    """
    name = builder.name
    if builder.build is None:
        assert builder.family is not None, f"{name}: neither build nor family"
        # nothing to store: the content is the function, known by what it draws
        points = builder.family.sample(100, 10, rng.generator(name, "digest"))
        content = digest(*(np.ascontiguousarray(part).tobytes() for part in points))
        write_json(
            folder / "classes.json",
            {"name": name, "kind": builder.kind, "digest": content, "classes": []},
        )
        return content
    source = raw / (builder.mirror or name)
    fetch(builder, source)
    if split:
        assert builder.split_anew is not None, f"{name}: has one split"
        return builder.split_anew(source, split).save(folder)
    return builder.build(source).save(folder)
