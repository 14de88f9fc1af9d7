"""The loop on Accelerate that every task runs: batches, checkpoints, objectives, averaging, tracking."""
