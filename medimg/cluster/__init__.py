"""A study and a Ray cluster: is it safe to talk to, what is sent, what comes home, how it is doing."""
