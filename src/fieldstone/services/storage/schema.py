"""What storage devices report and what customers can buy. The documentation tables are generated from here."""

from __future__ import annotations

from fieldstone.services.contract import Document, Product

SERVICE = "storage"

# A KiB-second: 1,024 bytes proven for a second. Small enough that a demo's shares count, large enough that a pebibyte
# over a day (9.5 · 10¹⁶) fits a 64-bit integer.
QUANTITY_UNIT = "KiB-second"
UNIT_BYTE_MS = 1_024 * 1_000

MONTH_S = 30 * 86_400  # the month of every storage price: thirty days
GIB = 2**30
KIB_S_PER_GIB_MONTH = GIB // 1_024 * MONTH_S

STORAGE, EGRESS, PERMANENT, PERMANENT_STORAGE = "storage", "egress", "permanent", "permanent-storage"
PERMANENT_REPAIR = "permanent-repair"
LEASE, RELEASE, COVER, EGRESS_CLAIM = "lease", "release", "cover", "egress"
PROOF, CHECK, SPACE = "proof", "check", "space"
CHAIN, LIVE = "chain", "live"
ANNOUNCE, DELETED = "announce", "deleted"

DOCUMENTS: dict[str, Document] = {
    ANNOUNCE: Document(1_024, "Where gateways reach a provider, and how much it can take."),
    LEASE: Document(262_144, "A gateway pays for these shares from now on: the providers' signed receipts."),
    RELEASE: Document(262_144, "A gateway no longer pays for these shares."),
    DELETED: Document(262_144, "Gateways' signed orders to delete shares that a provider was asked for all the same."),
    COVER: Document(
        262_144, "A gateway's segments that are permanent: funds that were paid once pay for their shares first."
    ),
    EGRESS_CLAIM: Document(262_144, "A provider's newest cumulative voucher of each gateway that read from it."),
    PROOF: Document(
        4_194_304,
        "A provider's answers to a round: chunks of 1 KiB and the hashes beside their way up, in the order asked.",
    ),
    CHECK: Document(65_536, "What the test reads gave that a round assigned to this device."),
    CHAIN: Document(256, "A gateway's commitment to the secrets that its test reads will be drawn from."),
    LIVE: Document(8_192, "How long providers took for challenges alone and at the same moment, with their receipts."),
    SPACE: Document(1_048_576, "A provider's proof of empty capacity."),
}

PRODUCTS: tuple[Product, ...] = (
    Product(
        STORAGE,
        "Proven storage",
        "GiB-month",
        2_000,
        "Shares that a provider proved to hold, per GiB of shares and thirty days, charged per KiB-second. An object of "
        "a k-of-n profile takes n/k times its size in shares: at 20 of 40, $0.004 per GiB-month of objects.",
        usage_per_unit=KIB_S_PER_GIB_MONTH,
    ),
    Product(
        EGRESS,
        "Egress",
        "GiB",
        6_000,
        "Bytes of shares that a gateway ordered from a provider, by its signed cumulative vouchers.",
        usage_per_unit=GIB,
    ),
    Product(
        PERMANENT,
        "Permanent storage",
        "GiB",
        2_685_301,
        "Pay once, before upload (`fieldstone storage endow`): the money is locked in a fund that pays the proven storage of "
        "permanent objects and the reads of their repair for as long as it lasts. The assumptions and the years covered are in "
        "every quote and are held "
        "against what was really spent. The unit price is that of one GiB at 20 of 40 under the default assumptions.",
    ),
    Product(
        PERMANENT_STORAGE,
        "Proven storage of permanent objects",
        "GiB-month",
        2_000,
        "Shares of objects that nobody can delete, at the price of proven storage: drawn from what was paid once, and from "
        "credits when no fund covers them.",
        usage_per_unit=KIB_S_PER_GIB_MONTH,
        priced_as=STORAGE,
    ),
    Product(
        PERMANENT_REPAIR,
        "Repair of permanent objects",
        "GiB",
        6_000,
        "What of the egress was needed to make shares of permanent objects anew, at the price of egress: drawn from what was "
        "paid once, up to the fund's allowance, and from credits beyond.",
        usage_per_unit=GIB,
        priced_as=EGRESS,
    ),
)
