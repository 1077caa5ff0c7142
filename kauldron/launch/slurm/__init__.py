"""Tasks as Slurm jobs: asked for through submitit, requeued by themselves."""
