"""The study: what to try next, what is recorded, when a trial is cut short."""
