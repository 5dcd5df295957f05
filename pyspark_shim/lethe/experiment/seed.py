"""Seeds of trials, as the driver makes them."""

from __future__ import annotations

_GAMMA = 0x9E37_79B9_7F4A_7C15
_MASK = 2**64 - 1


def trial_seed(experiment: int, trial: int) -> int:
    """The seed of a trial: output number `trial + 1` of SplitMix64 started at the experiment's seed, without
    its lowest bit. The same as `trial_seed` in the driver: a module that another process trained is made
    again by it.

    >>> trial_seed(0, 0) == 0xE220_A839_7B1D_CDAF >> 1
    True
    """
    z = (experiment + _GAMMA * (trial + 1)) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
    return (z ^ (z >> 31)) >> 1
