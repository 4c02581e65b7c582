"""Web page on this machine that shows a network's masks for images that a user drops on it."""
