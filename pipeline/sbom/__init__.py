"""Software bills of materials: what is in an image, as the lock and the image itself say."""
