"""Search spaces as plain values: the settings of a trial that vary, with their ranges and rules."""
