"""Let this process open as many files as the system allows: every connection is one, or two while much goes through it.

A shell's soft limit is often 1,024. A gateway of forty providers keeps eight connections to each; at the limit it would
take its own lack of descriptors for providers that cannot be reached.
"""

from __future__ import annotations

MOST_FILES = 65_536


def allow_many_files(most: int = MOST_FILES) -> int:
    """Raise the soft limit of open files up to `most`; return it, 0 where there is none to raise. Call once at start."""
    try:
        import resource
    except ImportError:  # no Unix
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most if hard == resource.RLIM_INFINITY else min(most, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):  # macOS has a limit of its own below the stated one
            return soft
        return wanted
    return soft
