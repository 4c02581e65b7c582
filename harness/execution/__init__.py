"""Where trials are trained: the worker process and the executors that drive it."""
