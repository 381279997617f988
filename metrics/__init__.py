"""The pure core and the store: flows, observations, verdicts, checks, rollups, baselines, deviations."""
