"""Logging the cells of a stage while it computes others, each cell once."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

from metabench.config import Config
from metabench.files import InputError, read_json, write_json
from metabench.pipeline.layout import Layout
from metabench.tracking.runs import track_cell
from metabench.tracking.store import experiment_name, look_up, wanted_uri


class Tracker:
    """A thread that logs finished cells; a context, which ends when all are logged.

    What an experiment holds already is remembered in a file, as to ask a store about ten thousand
    cells takes minutes. Where the store, or the experiment in it, is another, it is asked again.
    """

    def __init__(self, config: Config, layout: Layout):
        self._config = config
        self._path = layout.root / "data/tracked.json"
        self._logged: set[str] = set()

    def __enter__(self) -> Tracker:
        self._thread = ThreadPoolExecutor(1)
        self._reachable = self._thread.submit(self._remember)
        self._pending: list[Future[None]] = []
        return self

    def track(self, layout: Layout, source: str, method: str, seed: int) -> None:
        """Log the cell of the layout's level, soon."""
        self._pending.append(self._thread.submit(self._track, layout, source, method, seed))

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        self._thread.shutdown(cancel_futures=kind is KeyboardInterrupt)
        with suppress(InputError):
            if self._reachable.result() and (experiment := self._experiment()):
                write_json(self._path, self._memory() | {experiment: sorted(self._logged)})
        if kind is None:
            for answer in self._pending:
                answer.result()

    def _remember(self) -> bool:
        """Look what is logged; whether the store that is wanted can be reached."""
        try:
            self._logged = set(self._memory().get(self._experiment() or "", ()))
        except InputError:
            return False  # all goes to the local store, and is logged here when there is a way
        return True

    def _memory(self) -> dict[str, list[str]]:
        with suppress(InputError):
            found = read_json(self._path) if self._path.exists() else {}
            return found if isinstance(found, dict) else {}
        return {}

    def _experiment(self) -> str | None:
        """The experiment of the profile, in the store that is wanted; None: it is not there.

        Raises:
            InputError: the store cannot be used.
        """
        found = look_up(wanted_uri(), experiment_name(self._config.profile))
        return found and f"{found.experiment_id} of {found.creation_time}"

    def _track(self, layout: Layout, source: str, method: str, seed: int) -> None:
        key = read_json(layout.result(source, method, seed).with_suffix(".json"))["key"]
        if key not in self._logged and track_cell(self._config, layout, source, method, seed):
            self._logged.add(key)
