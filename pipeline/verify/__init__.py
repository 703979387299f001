"""`invoke verify`: whether an image is what is said of it."""
