"""Several hosts on one machine: Linux namespaces, so that they share nothing but a network.

Each host has a network namespace (`ip netns`) with one address on a common bridge, a name and processes of its own,
and its own `/srv` and `/srv/kek`: two file systems that no other host sees. When a host is switched off, everything
that ran on it is gone. Needs root, and a kernel that lets root make namespaces.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.demo.processes import Programs

_BOOT = """
hostname "$1" && mount -t tmpfs -o mode=0755 tmpfs /srv && mkdir /srv/kek /srv/assent &&
mount -t tmpfs -o mode=0700 tmpfs /srv/kek && touch /srv/up && exec sleep infinity
"""
BOOT_S = 60.0


def why_not() -> str | None:
    """Why hosts cannot be made here, in one line; None when they can."""
    if missing := [name for name in ("ip", "unshare", "nsenter") if shutil.which(name) is None]:
        return f"{', '.join(missing)} not installed: `make system-packages` installs iproute2 (and util-linux)"
    if os.geteuid() != 0:
        return "needs root, for network namespaces (run it as root)"
    tried = subprocess.run(["unshare", "--net", "--mount", "--pid", "--fork", "true"], capture_output=True, check=False)
    return None if tried.returncode == 0 else "the kernel does not let root make namespaces here (CAP_SYS_ADMIN)"


class HostPrograms(Programs):
    """Programs that run on one host."""

    def __init__(self, logs: Path, enter: list[str]) -> None:
        super().__init__(logs)
        self._enter = enter

    def _popen(self, words: list[str], env: Any, out: Any, err: Any) -> subprocess.Popen[bytes]:
        return super()._popen([*self._enter, *words], env, out, err)


@dataclass(frozen=True)
class Host:
    """`init`: its first process, by the number that it has outside."""

    name: str
    address: str
    init: int
    programs: HostPrograms

    def sees(self, path: str) -> bool:
        """Whether a program on this host finds the file."""
        return self.shell(f"test -e {path}").returncode == 0

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*entering(self.init), "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
        )

    def file(self, path: str) -> Path:
        """The same file as others find it who may look into the host's first process: only root outside."""
        return _inside(self.init, path)


def _inside(init: int, path: str) -> Path:
    return Path("/proc", str(init), "root", path.removeprefix("/"))


def entering(init: int) -> list[str]:
    return ["nsenter", "--target", str(init), "--net", "--mount", "--uts", "--ipc", "--pid", "--"]


class Network:
    """`with Network(folder) as network: network.host(name, address)`. Ends every host, and itself, with the block."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs
        self._hub = f"assent-{os.getpid()}-hub"
        self._count = 0
        self._open = ExitStack()

    def __enter__(self) -> Network:
        self._open.enter_context(_namespace(self._hub))
        _ip("-n", self._hub, "link", "add", "bridge", "type", "bridge")
        _ip("-n", self._hub, "link", "set", "bridge", "up")
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def host(self, name: str, address: str) -> Host:
        self._count += 1
        space, plug = f"assent-{os.getpid()}-{self._count}", f"plug{self._count}"
        self._open.enter_context(_namespace(space))
        _ip("link", "add", plug, "netns", self._hub, "type", "veth", "peer", "name", "eth0", "netns", space)
        _ip("-n", self._hub, "link", "set", plug, "master", "bridge")
        _ip("-n", self._hub, "link", "set", plug, "up")
        _ip("-n", space, "addr", "add", f"{address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            _ip("-n", space, "link", "set", device, "up")
        logs = self._logs / name
        logs.mkdir()
        init = self._open.enter_context(_running(space, name, logs / "boot.log"))
        programs = HostPrograms(logs, entering(init))
        self._open.callback(programs.close)
        return Host(name, address, init, programs)


@contextmanager
def _namespace(name: str) -> Iterator[None]:
    _ip("netns", "add", name)
    try:
        yield
    finally:
        _ip("netns", "del", name)


@contextmanager
def _running(space: str, name: str, log: Path) -> Iterator[int]:
    """Boot a host; yields the number of its first process, with which all its others end."""
    apart = ["--mount", "--uts", "--ipc", "--pid", "--fork", "--mount-proc", "--propagation", "private"]
    command = ["ip", "netns", "exec", space, "unshare", *apart, "sh", "-c", _BOOT, "sh", name]
    with log.open("wb") as said:
        outer = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=said, start_new_session=True)
    init = 0
    try:
        until = time.monotonic() + BOOT_S
        while not (init and _inside(init, "/srv/up").exists()):
            if outer.poll() is not None or time.monotonic() > until:
                raise OSError(f"the host {name} did not start: {log.read_text().strip()}")
            children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
            init = int(children[0]) if children else 0
            time.sleep(0.02)
        yield init
    finally:
        if init:
            os.kill(init, signal.SIGKILL)
        else:
            outer.kill()
        outer.wait(BOOT_S)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")
