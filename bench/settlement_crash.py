"""Kill -9 a settling process 100 times at random moments: roots posted twice, paid twice, acknowledged payouts lost.

Run: `python bench/settlement_crash.py [KILLS]` from the repository root. The process posts roots and pays claims through
the outbox on the embedded chain; afterwards the chain's events and balances are compared with what it had acknowledged.
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))


def main() -> None:
    """Print what the kills left behind; exit 1 when anything was repeated or lost."""
    from tests.chain import crash

    kills = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        outcome = crash.run(Path(folder), kills=kills, seed=100)
    for name, value in asdict(outcome).items():
        print(f"{name.replace('_', ' '):<20} {value:>6}")
    print(f"{'wall seconds':<20} {time.monotonic() - started:>6.0f}")
    broken = outcome.posted_twice + outcome.lost_roots + outcome.paid_twice + outcome.lost_payouts + outcome.torn_blocks
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
