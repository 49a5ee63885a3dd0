"""Storage: operators rent out disks; the network proves that the data is held and can be read, and repairs it."""
