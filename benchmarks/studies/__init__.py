"""Studies on real images that take hours: how good a training is, not how fast. Each is a command of its own."""
