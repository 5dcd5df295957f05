"""Seeds of trials are those of the driver."""

import re
from pathlib import Path

from lethe.experiment.seed import trial_seed

RUST = Path(__file__).parents[2] / "driver" / "src" / "experiment" / "seed.rs"


def test_a_trial_s_seed_is_that_of_the_driver_s_own_example() -> None:
    found = re.search(r"trial_seed\((\d+), (\d+)\), (0x[0-9A-F_]+) >> 1", RUST.read_text())
    assert found is not None
    assert trial_seed(int(found[1]), int(found[2])) == int(found[3], 16) >> 1


def test_seeds_follow_splitmix64_and_fit_63_bits() -> None:
    # The first outputs of SplitMix64 started at 1234567, from the authors' reference code.
    reference = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert [trial_seed(1234567, trial) for trial in range(4)] == [value >> 1 for value in reference]
    assert all(0 <= trial_seed(2**63 - 1, trial) < 2**63 for trial in range(100))
