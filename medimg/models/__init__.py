"""Networks, from scratch or by transfer."""
