from __future__ import annotations

import ctypes
import time

import pytest
import torch

from metabench.runtime import clock, renew, switches


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_waiting_costs_one_thread_nothing_and_several_the_time_that_goes_by(threads) -> None:
    spent = []
    for number in (1, 2):
        threads(number)
        start = clock(torch.device("cpu"))
        time.sleep(0.1)
        spent.append(clock(torch.device("cpu")) - start)
    assert spent[0] < 0.05 and spent[1] >= 0.1


def test_computing_costs_the_time_that_the_processor_worked(threads) -> None:
    threads(1)
    start, before = clock(torch.device("cpu")), time.thread_time()
    while time.thread_time() - before < 0.05:
        pass
    assert clock(torch.device("cpu")) - start >= 0.05


def test_where_a_peak_cannot_be_reset_a_process_is_not_as_new(monkeypatch) -> None:
    def refuse(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", refuse)
    assert not renew()


def test_what_is_switched_is_seen_and_switched_back_is_as_before(threads, monkeypatch) -> None:
    threads(1)
    before = switches()
    assert switches() == before
    threads(2)
    assert switches() != before
    threads(1)
    with torch.no_grad():
        assert switches() != before
    assert switches() == before
