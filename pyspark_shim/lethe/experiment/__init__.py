"""Running an experiment: plan, watch, prepare trials, hold slots, collect the result."""
