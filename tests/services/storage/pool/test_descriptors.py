"""The limit of open files is raised as far as it may be."""

from __future__ import annotations

import resource

from fieldstone.services.storage.pool.descriptors import allow_many_files


def test_the_limit_is_raised_to_what_is_allowed_and_never_lowered() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        assert allow_many_files(300) == 300 == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        assert allow_many_files(280) == 300
        assert allow_many_files(2**40) <= hard or hard == resource.RLIM_INFINITY
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
