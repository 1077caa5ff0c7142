"""Jobs: one run over several processes, restarted when it was preempted."""
