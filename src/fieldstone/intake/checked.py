"""Messages that passed the door: one by one (`Checked`), or a whole sequence of one device at once (`Run`).

A `Run` is the usual sequence: the reports that a device kept while it was offline, all of the same form, with rising
numbers. Its parts lie in columns, so that each step is one pass over a column instead of one object per report. As soon
as anything about one of its messages is unusual — a wrong signature, a number that another request was quicker to use
— the run is `split` into the same `Checked` messages that it stands for, and goes the way of all others.
"""

from __future__ import annotations

from collections.abc import Sequence

from fieldstone.identity.registry import Device
from fieldstone.intake import glance
from fieldstone.intake.budget import Bucket
from fieldstone.intake.marks import Mark
from fieldstone.intake.outcome import AcceptedRun, Outcome, refused
from fieldstone.intake.shape import Columns, Shape

_MOST_LESSONS = 8  # a pattern takes about half a millisecond to make


class Slot:
    """What the door remembers of a device, found by the protected header that it sends with every message."""

    __slots__ = ("bucket", "device", "kid", "lessons", "mark", "prefix", "shape")

    def __init__(self, device: Device, kid: bytes, mark: Mark, bucket: Bucket, prefix: bytes) -> None:
        self.device = device
        self.kid = kid
        self.mark = mark
        self.bucket = bucket
        self.prefix = prefix  # start of the signed bytes, up to the payload
        self.shape: Shape | None = None  # the form of its reports
        self.lessons = _MOST_LESSONS  # how often it may still change that form


class Checked:
    """A message that passed the door. `head` is None when the full decoder has to read the payload."""

    __slots__ = (
        "device",
        "head",
        "index",
        "is_new_shape",
        "kid",
        "message",
        "outcome",
        "payload",
        "signature",
        "signed",
        "slot",
        "verified",
    )

    def __init__(
        self,
        slot: Slot,
        kid: bytes,
        message: bytes,
        payload: bytes,
        signed: bytes,
        signature: bytes,
        head: glance.Head | None,
    ) -> None:
        self.slot = slot
        self.device = slot.device
        self.kid = kid
        self.message = message
        self.payload = payload
        self.signed = signed  # what the signature covers
        self.signature = signature
        self.head = head
        self.index = -1
        self.verified = False
        self.is_new_shape = False
        self.outcome: Outcome | None = None


class Run:
    """A whole body of reports of one device that passed the door together.

    `verdicts` are those on the signatures, None where not known yet; `parts` what `split` returned, if it was asked.
    """

    __slots__ = ("columns", "device", "index", "kid", "outcomes", "parts", "signed", "slot", "verdicts")

    def __init__(self, slot: Slot, columns: Columns) -> None:
        self.slot = slot
        self.device = slot.device
        self.kid = slot.kid
        self.columns = columns
        prefix = slot.prefix
        self.signed = [prefix + item for item in columns.payload_items]
        self.verdicts: list[bool | None] = [None] * len(columns.messages)
        self.index = -1
        self.outcomes: AcceptedRun | None = None
        self.parts: list[Checked] | None = None

    def __len__(self) -> int:
        return len(self.verdicts)

    def split(self) -> Sequence[Checked]:
        """Return its messages, each by itself, with what is known about its signature; the same ones when asked again."""
        if self.parts is None:
            columns = self.columns
            self.parts = []
            for place, verdict in enumerate(self.verdicts):
                payload = columns.payload(place)
                part = Checked(
                    self.slot,
                    self.kid,
                    columns.messages[place],
                    payload,
                    self.signed[place],
                    columns.signatures[place],
                    columns.head(place),
                )
                part.verified = verdict is not None
                if verdict is False:
                    part.outcome = refused("BAD_SIGNATURE", "", self.device.device)
                self.parts.append(part)
        return self.parts
