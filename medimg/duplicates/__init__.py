"""Which images are copies of each other, whatever file holds them: the same pixels, or the same picture altered."""
