"""Studies: which values of a config are best, found by Optuna."""
