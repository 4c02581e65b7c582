"""Read and write single images and masks, and parse their headers."""
