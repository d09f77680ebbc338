"""`raftcache demo` as a user runs it: real processes, real signals, the printed lines pasted."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.cluster

DEMO = [sys.executable, "-m", "raftcache", "demo"]
PATIENCE_S = 60.0


def base_port(size: int = 3) -> int:
    """A port after which `size` ones in a row are free now."""
    first = os.getpid() * 10 % 10_000  # so that two runs of the tests look in different places
    for base in range(20_000 + first, 32_000, 10):
        with ExitStack() as stack:
            try:
                for i in range(1, size + 1):
                    probe = stack.enter_context(socket.socket())
                    probe.bind(("127.0.0.1", base + i))
            except OSError:
                continue
            return base
    raise AssertionError("no free ports")


def eventually(look: Callable[[], Any]) -> Any:
    """What look returns as soon as it is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not (got := look()):
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)
    return got


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def demo_in(folder: Path, *options: str, base: int, size: int = 3) -> list[str]:
    """The command for a demo of so many nodes, with ports from base on."""
    command = [*DEMO, "--dir", str(folder), "--nodes", str(size), *options]
    for i, what in enumerate(("--base-raft", "--base-http", "--base-resp")):
        command += [what, str(base + i * size)]
    return command


@contextmanager
def running_demo(folder: Path, *options: str, base: int = 0) -> Iterator[subprocess.Popen[str]]:
    command = demo_in(folder, *options, base=base or base_port(9))
    with (folder / "out").open("w") as out:
        demo = subprocess.Popen(command, stdout=out, stderr=out, text=True, start_new_session=True)
    try:
        yield demo
    finally:
        if demo.poll() is None:
            demo.terminate()
        try:
            demo.wait(PATIENCE_S)
        finally:
            if demo.poll() is None:
                demo.kill()


def printed(folder: Path) -> str:
    return (folder / "out").read_text()


def pids(folder: Path) -> dict[str, int]:
    state = json.loads((folder / "demo.json").read_text())
    return {node["name"]: node["pid"] for node in state["nodes"]}


def test_once_holds_and_leaves_nothing_behind(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--once", "--json"],
        capture_output=True,
        text=True,
        timeout=180,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    steps = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(step["ok"] for step in steps)
    assert [step["read"] for step in steps if "read" in step] == [200, 200, 250, 250]
    assert [step["killed"] for step in steps if "killed" in step] == [steps[0]["leader"]]
    assert steps[-1]["digest"]
    assert list(tmp_path.iterdir()) == []


def test_once_fails_with_1_and_shows_the_logs(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--once", "--dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        env=os.environ | {"RAFTCACHE_LOG_LEVEL": "loud"},  # no node starts
    )
    assert done.returncode == 1
    assert "nodes ended while starting" in done.stdout
    assert f"--- {tmp_path}/n1/node.log" in done.stderr
    assert "must be one of debug, info, warning, error" in done.stderr
    assert not (tmp_path / "demo.json").exists()


def test_it_prints_lines_that_work_and_stops_everything(tmp_path: Path) -> None:
    with running_demo(tmp_path) as demo:
        eventually(lambda: "DIGEST" in printed(tmp_path))
        lines = [line for line in printed(tmp_path).splitlines() if line.startswith("curl ")]
        assert len(lines) == 3
        if shutil.which("curl"):
            answers = [_output([*shlex.split(line), "--silent"]) for line in lines]
            assert json.loads(answers[0])["revision"] >= 1
            assert answers[1] == "hello"
            assert json.loads(answers[2])["node"] == "n3"
        before = pids(tmp_path)
        assert len(before) == 3
        demo.send_signal(signal.SIGINT)
        assert demo.wait(PATIENCE_S) == 0
        assert not any(alive(pid) for pid in before.values())
        assert not (tmp_path / "demo.json").exists()


def test_a_node_that_dies_is_started_again(tmp_path: Path) -> None:
    with running_demo(tmp_path):
        eventually(lambda: "DIGEST" in printed(tmp_path))
        before = pids(tmp_path)
        os.kill(before["n2"], signal.SIGKILL)
        after = eventually(lambda: (now := pids(tmp_path))["n2"] != before["n2"] and now)
        assert "n2 ended with -9" in printed(tmp_path)
        assert {**after, "n2": 0} == {**before, "n2": 0}
        eventually(lambda: "n2 is started again" in printed(tmp_path))


def test_a_folder_of_another_cluster_is_refused_in_one_line(tmp_path: Path) -> None:
    base = base_port(15)

    def refused(base: int, size: int) -> str:
        command = demo_in(tmp_path, base=base, size=size)
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        return done.stderr

    with running_demo(tmp_path, base=base):
        eventually(lambda: "DIGEST" in printed(tmp_path))
    before = {*tmp_path.iterdir()}
    for size in (5, 2):
        assert f"{tmp_path} holds a cluster that began with --nodes 3: say so," in refused(
            base, size
        )
    assert "at other ports (--base-raft): say so, or take another folder" in refused(base + 1, 3)
    assert {*tmp_path.iterdir()} == before


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
