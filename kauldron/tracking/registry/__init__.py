"""An index over workdirs: projects, runs, parameters, metrics, artifacts."""
