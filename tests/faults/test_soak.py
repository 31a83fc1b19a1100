"""Rows 8 and 74: the real daemon among random faults, under load, with an oracle that knows what was acknowledged and what was done.

`make kills` and `make soak` are the same for as long as one likes.
"""

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from tests.soak import harness


@pytest.mark.timeout(400)
async def test_row_8_killed_fifty_times_under_load(tmp_path: Path) -> None:
    seed = secrets.token_hex(4)
    verdict = await harness.run(tmp_path, seed=seed, kills=50)

    assert not verdict.violations, f"python -m tests.soak --kills 50 --seed {seed}"
    assert verdict.lives > 50
    assert min(verdict.acknowledged, verdict.effects, sum(verdict.outcomes.values())) > 0, "nothing was asked of it"


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_row_74_two_minutes_of_everything() -> None:
    seed = secrets.token_hex(4)
    argv = [sys.executable, "-m", "tests.soak", "--minutes", "2", "--seed", seed]
    ran = subprocess.run(argv, check=False, capture_output=True, text=True, timeout=500)

    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
