"""What to look for before and while training: static plans, search spaces, Pareto fronts."""
