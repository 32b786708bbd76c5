"""The border between the hospital and data/: what crosses it is de-identified, and a statement says how."""
