"""Metrics of several processes are added up, including those of processes that ended."""

from __future__ import annotations

import fcntl

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key

from config.base import metric_files
from config.base.metrics import collector


@pytest.fixture
def directory(tmp_path, monkeypatch):
    monkeypatch.setenv(metric_files.VARIABLE, "set back after the test")
    metric_files.make_directory(str(tmp_path))
    yield metric_files._made[0]
    metric_files.remove_directory()
    assert list(tmp_path.iterdir()) == []


def count(directory, kind, pid, value):
    file = MmapedDict(str(directory / f"{kind}_{pid}.db"))
    file.write_value(mmap_key("hits", "hits_total", [], [], "Hits."), value, 0.0)
    file.close()


def total():
    return sum(sample.value for metric in collector().collect() for sample in metric.samples)


def test_counts_of_dead_processes_are_merged_into_one_file(directory):
    for pid in (11, 12, 13):
        count(directory, "counter", pid, pid)
        count(directory, "gauge_livesum", pid, 100)
    assert total() == 11 + 12 + 13 + 300
    metric_files.add_up_dead(11)
    metric_files.add_up_dead(12)
    metric_files.add_up_dead(12)  # never counted twice
    assert total() == 11 + 12 + 13 + 100
    assert sorted(file.name for file in directory.glob("*.db")) == [
        "counter_0.db",
        "counter_13.db",
        "gauge_livesum_13.db",
    ]


def test_a_reused_process_id_starts_at_zero(directory):
    count(directory, "counter", 11, 5)
    metric_files.add_up_dead(11)
    count(directory, "counter", 11, 1)
    assert total() == 6


def test_the_directory_is_created_once(directory, tmp_path):
    metric_files.make_directory(str(tmp_path))
    assert list(tmp_path.iterdir()) == [directory]


def test_only_directories_of_killed_servers_are_removed(tmp_path):
    killed = tmp_path / f"a{metric_files.SUFFIX}"
    running = tmp_path / f"b{metric_files.SUFFIX}"
    foreign = tmp_path / "c"
    for directory in (killed, running, foreign):
        directory.mkdir()
        (directory / metric_files.OWNER).touch()
    with (running / metric_files.OWNER).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        metric_files.remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == [running, foreign]
