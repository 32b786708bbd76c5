"""What medimg is measured against, where that is a program of its own."""
