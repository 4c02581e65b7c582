"""Workers that Slurm starts, and the files by which they and the controller exchange messages."""
