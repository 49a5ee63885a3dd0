"""The closed list of reasons for which a storage device's work earns less. `docs/reference/storage-rules.md` shows it."""

from __future__ import annotations

from fieldstone.services.contract import VerdictReason

_ALL = (
    VerdictReason(
        "NOT_ENROLLED",
        "A storage report came from a device that is not in the registry.",
        "Enrol the device; earlier work cannot be paid.",
    ),
    VerdictReason("GATEWAY", "The device is a customer's gateway: it buys storage and earns none.", "Nothing to do."),
    VerdictReason(
        "LEAVING",
        "The device announced that it leaves: gateways move its shares, pay until they have, and place nothing new on it.",
        "Keep it running until the log says that every share has been moved (detail.leaving).",
    ),
    VerdictReason(
        "LEFT",
        "The device announced that it leaves and its last share is elsewhere: what was held back of its pay is paid out.",
        "Nothing to do: it can be switched off, and its bond be released.",
    ),
    VerdictReason(
        "VANISHED",
        "The device fell silent, and all that it held was restored elsewhere: what was held back of its pay is lost.",
        "Announce it with `fieldstone storage leave` before you switch a provider off. Started again, it can take new shares.",
    ),
    VerdictReason(
        "NO_HOLDINGS",
        "No gateway paid this device for a share in the epoch.",
        "Keep the provider reachable; gateways place shares by price, reputation and place.",
    ),
    VerdictReason(
        "NOT_ASKED",
        "No round that covers the shares was due in the epoch; their time is settled with the next round.",
        "Nothing to do: open time is carried to the next epoch.",
    ),
    # audits
    VerdictReason(
        "MISSED_ROUND",
        "No answer to a round arrived. The time it covers is not paid, and its questions are asked again.",
        "Check power, network and that the agent polls for rounds; announce maintenance to your gateways.",
    ),
    VerdictReason(
        "SILENT",
        "No answer came for so long that all shares count as failed: gateways restore them elsewhere.",
        "Bring the device back: the first round that it answers ends this; detail.standing.heard_ms is its last answer.",
    ),
    VerdictReason(
        "LATE",
        "Answers arrived after the round's deadline and count as not given.",
        "Check the disk's and the line's speed; the detail names the round and by how much it was late.",
    ),
    VerdictReason(
        "MISSING_LEAF",
        "A round was answered, but not for every question: those shares are counted as lost.",
        "Look for the named shares (detail.failures); report a share that is really lost to its gateway for repair.",
    ),
    VerdictReason(
        "WRONG_LEAF",
        "A chunk of a leaf does not match the commitment in the receipt that this device signed. The round is not paid.",
        "Compare the named shares (detail.failures) with your disk: bit rot, a wrong file, or made-up bytes.",
    ),
    VerdictReason(
        "DATA_LOSS",
        "The sequential test (CUSUM) finds far more failed questions than an honest disk has; the device is suspended.",
        "See detail.failures and appeal within the window; answer the next rounds in full to be reinstated.",
    ),
    VerdictReason(
        "LOW_AUDIT_SCORE",
        "The audit score is below the threshold; the device is suspended.",
        "See detail.failures and appeal within the window; answer the next rounds in full to be reinstated.",
    ),
    VerdictReason(
        "LOW_AVAILABILITY",
        "The share of rounds that were answered is below the threshold; the device is suspended.",
        "Bring the device back and keep it online; the score recovers with every answered round.",
    ),
    # retrieval
    VerdictReason(
        "RETRIEVAL_FAILING",
        "A majority of independent checkers could not read from the device, or got other bytes. Part of the income "
        "depends on it.",
        "Serve every signed order of an enrolled device; check firewall, disk speed and the named shares.",
    ),
    VerdictReason(
        "SERVES_TESTS_ONLY",
        "Open test reads come, but not what customers' gateways read in secret like any paid read.",
        "Serve every signed order, whoever signed it; detail.secret_reads says what came.",
    ),
    VerdictReason(
        "LOW_RETRIEVAL_SCORE",
        "The retrieval score is below the threshold; the device is suspended.",
        "Serve every signed order; the score recovers with every good check.",
    ),
    VerdictReason(
        "CHECK_NOT_DONE",
        "Test reads that rounds assigned to this device were not reported.",
        "Let the agent do its checks; checkers that do none have no say.",
    ),
    VerdictReason(
        "DISSENTING_CHECKER",
        "Reports of test reads contradict the majority of the other checkers; this device's reports weigh less.",
        "Check the route from this device to the named providers.",
    ),
    VerdictReason("UNASKED_CHECK", "Reports of test reads that no round assigned.", "Report assigned checks only."),
    # standing
    VerdictReason(
        "SUSPENDED",
        "The device is suspended: proven customers' storage is paid, new shares and the bootstrap are not.",
        "Answer rounds in full until the date in detail.standing; appeal with the named failures if they are wrong.",
    ),
    VerdictReason(
        "DISQUALIFIED",
        "The device did not recover within the appeal window. It earns nothing.",
        "Appeal with the sealed epochs that detail.standing names; else enrol new hardware.",
    ),
    # what counts
    VerdictReason(
        "BAD_LEASE",
        "A lease holds lines that do not count: a receipt that does not verify, a commitment outside the limits, "
        "a share that is leased already.",
        "Gateway: send the receipt exactly as the provider signed it, once. detail.refused says which and why.",
    ),
    VerdictReason(
        "DUPLICATE_SEGMENT",
        "The operator holds more shares of one segment than the rules allow; those beyond earn no bootstrap; their gateway pays for them.",
        "Gateway: place a segment's shares on different operators. detail.duplicates names the shares.",
    ),
    VerdictReason(
        "COPIED_SHARE",
        "The same bytes are leased and proven elsewhere already: identical bytes earn the bootstrap once. Their gateway pays for both.",
        "Gateway: release the share at the old provider when a repair has moved it.",
    ),
    VerdictReason(
        "NO_PAYER",
        "The gateway that leased these shares is not enrolled any more: nobody pays for them, and they earn no bootstrap.",
        "Nothing to do in the first days: the gateway may be recovered. detail.duplicates names the shares.",
    ),
    VerdictReason(
        "OWN_GATEWAY",
        "Shares are leased by a gateway of the same operator: they are settled, but earn no bootstrap.",
        "Nothing to do: customers' data earns the bootstrap.",
    ),
    VerdictReason(
        "SHARED_DISK",
        "Gateways of several operators found again and again that challenges at the same moment slow these devices down "
        "as one disk would; one of them earns.",
        "Give every device its own disk; the suspicion falls with every measurement that finds nothing.",
    ),
    VerdictReason(
        "OUTSOURCED",
        "Live challenges take as long as a fetch from elsewhere would.",
        "Keep the bytes on the device that is paid for them.",
    ),
    VerdictReason(
        "BAD_VOUCHER",
        "An egress voucher is not signed by its gateway for this device, or lower than one already redeemed.",
        "Redeem the newest voucher of each gateway.",
    ),
    VerdictReason(
        "EGRESS_CAPPED",
        "More egress is claimed than the line or the stored shares make plausible; the rest stays redeemable.",
        "Nothing to do if it was real: it is paid in later epochs.",
    ),
    VerdictReason(
        "BAD_REPORT",
        "A storage report could not be read.",
        "Update the agent; docs/reference/storage-rules.md names the formats.",
    ),
    VerdictReason(
        "SPACE_UNPROVEN",
        "A claim of empty capacity did not verify.",
        "Let the agent plot the space again; it counts little and only when proven.",
    ),
)

REASONS: dict[str, VerdictReason] = {reason.code: reason for reason in _ALL}
