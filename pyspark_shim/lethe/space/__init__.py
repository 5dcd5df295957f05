"""Search spaces: domains, conditions, constraints, and the points that fulfil them."""
