"""Running a study: trials, slots, budgets, disk space, stops."""
