"""Training: the tasks, the loop on Accelerate that each of them runs, its data, and what is published of a run."""
