"""No gateway takes all threads, and everybody's turn comes."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fieldstone.identity.keys import DeviceKey
from fieldstone.services.storage.provider.orders import Listed, header
from fieldstone.services.storage.provider.turns import Turns
from tests.services.storage.provider.running import Gateway, running, share_id


@pytest.mark.parametrize(("threads", "most"), [(2, 1), (4, 3), (16, 12)])
def test_one_gateway_leaves_a_quarter_to_others(threads: int, most: int) -> None:
    turns, begun = Turns(threads), list[int]()
    for number in range(40):
        turns.begin("greedy", partial(begun.append, number))
    assert begun == [*range(most)]
    turns.begin("other", partial(begun.append, 99))
    assert begun[-1] == 99
    turns.end("other")
    for _ in range(40):
        turns.end("greedy")
    assert begun == [*range(most), 99, *range(most, 40)]


def test_those_who_have_none_take_turns() -> None:
    turns, begun = Turns(1), list[str]()
    for who in ("greedy", "greedy", "greedy", "other", "other"):
        turns.begin(who, partial(begun.append, who))
    for _ in range(4):
        turns.end(begun[-1])
    assert begun == ["greedy", "greedy", "other", "greedy", "other"]


@pytest.mark.parametrize("together", [2, 3, 5])
def test_gateways_that_act_together_leave_a_thread_to_the_next(together: int) -> None:
    turns, begun = Turns(16), list[str]()
    for who in [f"greedy {number % together}" for number in range(200)]:
        turns.begin(who, partial(begun.append, who))
    assert len(begun) < 16
    turns.begin("other", partial(begun.append, "other"))
    assert begun[-1] == "other"


def test_who_has_least_comes_first() -> None:
    turns, begun = Turns(4), list[str]()
    for who in ("a", "a", "b", "b", "a", "c", "c"):
        turns.begin(who, partial(begun.append, who))
    assert begun == ["a", "a", "b", "c"]
    turns.end("a")
    assert begun[4:] == []  # b, c and a have one each, and the one free thread is for who has none
    turns.end("c")
    assert begun[4:] == ["c"]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2)), max_size=150))
def test_all_that_begins_ends_and_never_too_much_at_a_time(steps: list[tuple[bool, int]]) -> None:
    turns, running_now, begun, asked = Turns(4), [0, 0, 0], [0, 0, 0], [0, 0, 0]

    def start(who: int) -> None:
        running_now[who] += 1
        begun[who] += 1

    def end(who: int) -> None:
        running_now[who] -= 1
        turns.end(str(who))

    for begins, who in steps:
        if begins:
            asked[who] += 1
            turns.begin(str(who), partial(start, who))
        elif running_now[who]:
            end(who)
        assert max(running_now) <= 3
    while any(running_now):  # an end may begin what waited
        end(max(range(3), key=running_now.__getitem__))
    assert begun == asked


def test_slow_uploads_of_one_gateway_do_not_keep_out_anothers(tmp_path: Path) -> None:
    slow, honest = DeviceKey.generate(), DeviceKey.generate()
    known = Listed([slow.public.device_id, honest.public.device_id])
    with running(tmp_path / "disk", gateways=known, most_pieces=4) as provider, ExitStack() as stack:
        port, name = provider.server.port, provider.gateway.provider
        attacker = Gateway(port, name, slow)
        for number in range(12):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            order = header(attacker.order("put", share_id(number)))
            head = f"PUT /v1/shares/{share_id(number).hex()} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n"
            connection.sendall(f"{head}authorization: {order}\r\n\r\nabc".encode())
        while len(provider.store._busy) < 3:
            pass
        assert Gateway(port, name, honest).put(share_id(99), b"x" * 50_000).status == 201
