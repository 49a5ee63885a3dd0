"""A running network on one machine: everything opened, wired and served. The only place where all parts meet."""
