"""Search: spaces, samplers, trials on Ray Tune, Pareto fronts."""
