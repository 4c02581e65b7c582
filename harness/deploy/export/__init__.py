"""Export of a network as a bundle: graph, description, runner, parity with the study."""
