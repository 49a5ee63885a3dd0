"""Fill free space with plots, slowly, and give it back at once when shares need it. Needs chiapos (extra, Apache-2.0)."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from fieldstone.errors import EnvironmentProblem
from fieldstone.services.storage.provider.space import proof as proof_
from fieldstone.services.storage.provider.space.proof import SpaceProof, plot_bytes, plot_id, question
from fieldstone.services.storage.provider.store import Store

_LOG = logging.getLogger("fieldstone.storage")
_ROOM_TO_MAKE = 6  # temporary files while a plot is made, in plots
_MOST_DOCUMENT_BYTES = 900_000
_MOST_PLOTS, _LARGEST_K = 160, 32  # rules check a limited number of proofs; a plot of k = 32 has 106 GB


class Filling:
    """The plots of one store: `space/<k>-<index>.plot`. Highest indices are given back first."""

    def __init__(
        self,
        store: Store,
        device: str,
        wanted_bytes: int,
        *,
        k: int | None = None,
        every_rounds: int = 1,
        say: Callable[[str], None] = lambda words: None,
    ) -> None:
        """`k`: size of the plots; by default that of plots already there, or one that needs at most 160 of them.

        `every_rounds`: which rounds count empty space. Raises EnvironmentProblem when chiapos is not installed.
        """
        if importlib.util.find_spec("chiapos") is None:
            raise EnvironmentProblem("proving empty space needs chiapos: pip install chiapos, or leave out --space")
        self._store, self._device, self._wanted = store, device, wanted_bytes
        self._every_rounds, self._say = every_rounds, say
        self._folder = store.root / "space"
        self._making = store.root / "space-making"
        shutil.rmtree(self._making, ignore_errors=True)  # half a plot is none
        self._folder.mkdir(exist_ok=True)
        self._k = k or _size_of_plots(self._folder, wanted_bytes)
        self._lock = threading.Lock()
        self._plots: dict[int, int] = {}
        for path in self._folder.glob(f"{self._k}-*.plot"):
            self._plots[int(path.stem.split("-")[1])] = path.stat().st_size
        store.filler_bytes = lambda: sum(self._plots.values())
        store.make_room = self.give_back

    def give_back(self, wanted_bytes: int) -> None:
        """Remove plots until `wanted_bytes` are free."""
        with self._lock:
            for index in sorted(self._plots, reverse=True):
                if wanted_bytes <= 0:
                    return
                (self._folder / f"{self._k}-{index}.plot").unlink(missing_ok=True)
                wanted_bytes -= self._plots.pop(index)

    def run(self, stop: threading.Event) -> None:
        """Make plots, one at a time and with low priority, while there is room."""
        while not stop.is_set():
            if not self._has_room():
                stop.wait(60)
                continue
            try:
                if not self.make(stop):
                    stop.wait(60)
            except (OSError, subprocess.SubprocessError) as error:
                _LOG.warning("a plot could not be made: %s", error)
                stop.wait(60)

    def make(self, stop: threading.Event) -> bool:
        """Make the plot with the lowest free index; say whether it was made."""
        index = next(i for i in range(proof_.MOST_PLOTS) if i not in self._plots)
        self._making.mkdir(exist_ok=True)
        name = f"{self._k}-{index}.plot"
        words = [str(self._making), name, str(self._k), plot_id(self._device, self._k, index).hex()]
        process = subprocess.Popen(
            [sys.executable, "-m", "fieldstone.services.storage.provider.space.plot", *words],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while process.poll() is None:
            if stop.wait(0.2):
                process.kill()
                process.wait()
                return False
        made = self._making / name
        is_made = process.returncode == 0 and made.exists()
        with self._lock:
            if is_made and self._has_room(1):
                made.rename(self._folder / name)
                self._plots[index] = (self._folder / name).stat().st_size
        shutil.rmtree(self._making, ignore_errors=True)
        if is_made:
            self._say(f"made plot {index}: {sum(self._plots.values()):,} bytes of empty space can be proven")
        return is_made

    def answer(self, number: int, seed: bytes) -> bytes | None:
        """Return the document that answers a round; None when no plot is held or the round does not count space."""
        if number % self._every_rounds:
            return None
        chiapos = importlib.import_module("chiapos")  # an optional extra without types
        found: list[tuple[int, bytes]] = []
        size = 0
        for index in sorted(self._plots):
            challenge = question(self._device, seed, index, 1)
            if challenge is None:
                continue
            try:
                prover = chiapos.DiskProver(str(self._folder / f"{self._k}-{index}.plot"))
                if not prover.get_qualities_for_challenge(challenge):
                    continue
                found.append((index, bytes(prover.get_full_proof(challenge, 0))))
            except (RuntimeError, ValueError) as error:
                _LOG.warning("plot %d gives no proof: %s", index, error)
                continue
            size += len(found[-1][1]) + 8
            if size > _MOST_DOCUMENT_BYTES:
                break
        if not self._plots:
            return None
        return msgspec.msgpack.encode(SpaceProof(number=number, k=self._k, proofs=tuple(found)))

    def _has_room(self, plots: int = _ROOM_TO_MAKE) -> bool:
        held = sum(self._plots.values())
        one = plot_bytes(self._k)
        return held + one <= self._wanted and self._store.free_bytes() - held >= plots * one


def _size_of_plots(folder: Path, wanted_bytes: int) -> int:
    there = sorted({int(path.name.split("-")[0]) for path in folder.glob("*-*.plot")})
    if there:
        return there[-1]
    sizes = range(proof_.LEAST_K, _LARGEST_K)
    return next((k for k in sizes if wanted_bytes <= _MOST_PLOTS * plot_bytes(k)), _LARGEST_K)
