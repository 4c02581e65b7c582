"""Reading and writing single images and masks, and what their headers say."""
