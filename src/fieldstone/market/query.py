"""What a customer asks for: variables, an area, a time, a least quality. Pure.

An area is everywhere, a set of H3 cells of any resolution, or a bounding box in degrees. A box whose west edge is larger
than its east edge crosses the antimeridian; 180° and −180° are one meridian; at a pole every longitude is the same point.
"""

from __future__ import annotations

import math

import h3
import msgspec
import polars as pl

from fieldstone.errors import Rejected
from fieldstone.market.catalogue import Offer
from fieldstone.reasons import reason

MAX_CELLS = 1_000
MAX_TIME_MS = 253_402_300_800_000  # the year 10000
CELL_RESOLUTION = 7  # of the `cell` column of what is delivered, about 5 km²


class Box(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A bounding box in degrees, edges included."""

    south: float
    west: float
    north: float
    east: float


class Query(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`variables`: none means all. `start_ms` ≤ t_ms < `end_ms`. `cells` and `box` exclude each other."""

    service: str
    product: str
    start_ms: int
    end_ms: int
    variables: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    box: Box | None = None
    min_quality_ppm: int = 0


def checked(query: Query, offer: Offer) -> Query:
    """Return the query in canonical form (sorted, complete, at least the network's least quality).

    Two questions with the same answer get the same form, hence the same selection hash. Raises Rejected BAD_QUERY.
    """
    known = [column.name for column in offer.columns]
    for variable in query.variables:
        if variable not in known:
            raise _bad(f"unknown variable {variable[:40]!r}; known are {', '.join(known)}")
    if not 0 <= query.start_ms < query.end_ms <= MAX_TIME_MS:
        raise _bad("start_ms must lie before end_ms, both Unix milliseconds up to the year 9999")
    if not 0 <= query.min_quality_ppm <= 1_000_000:
        raise _bad("min_quality_ppm must lie between 0 and 1000000")
    if query.cells and query.box:
        raise _bad("name cells or a box, not both")
    if len(query.cells) > MAX_CELLS:
        raise _bad(f"{len(query.cells)} cells; at most {MAX_CELLS}: use coarser ones")
    cells = tuple(sorted({_cell(cell) for cell in query.cells}))
    variables = tuple(name for name in known if not query.variables or name in query.variables)
    quality = max(query.min_quality_ppm, offer.min_quality_ppm)
    box = None if query.box is None else _checked_box(query.box)
    return msgspec.structs.replace(query, variables=variables, cells=cells, box=box, min_quality_ppm=quality)


def stations_within(stations: pl.DataFrame, query: Query) -> pl.DataFrame:
    """Return (device, cell) of the stations (device, lat, lon) that stand in the query's area, sorted by device."""
    placed = stations.select("device", "lat", "lon").drop_nulls().sort("device")
    if query.box is not None:
        placed = placed.filter(_in_box(query.box))
    elif query.cells:
        wanted = set(query.cells)
        resolutions = sorted({int(h3.get_resolution(cell)) for cell in wanted})  # type: ignore[no-untyped-call]
        inside = [
            any(_cell_at(lat, lon, resolution) in wanted for resolution in resolutions)
            for lat, lon in zip(placed["lat"], placed["lon"], strict=True)
        ]
        placed = placed.filter(pl.Series(inside, dtype=pl.Boolean))
    cells = [_cell_at(lat, lon, CELL_RESOLUTION) for lat, lon in zip(placed["lat"], placed["lon"], strict=True)]
    return placed.select("device", pl.Series("cell", cells, dtype=pl.String))


def _in_box(box: Box) -> pl.Expr:
    lat, lon = pl.col("lat"), pl.col("lon")
    if box.west <= box.east:
        across = lon.is_between(box.west, box.east)
    else:
        across = (lon >= box.west) | (lon <= box.east)
    if box.west == -180.0 or box.east == 180.0 or box.west > box.east:
        across = across | (lon.abs() == 180.0)
    # All meridians meet at a pole: longitude says nothing there.
    return lat.is_between(box.south, box.north) & (across | (lat.abs() == 90.0))


def _checked_box(box: Box) -> Box:
    if not all(math.isfinite(edge) for edge in (box.south, box.west, box.north, box.east)):
        raise _bad("the box has an edge that is not a number")
    if not -90.0 <= box.south <= box.north <= 90.0:
        raise _bad("the box needs -90 ≤ south ≤ north ≤ 90")
    if not (-180.0 <= box.west <= 180.0 and -180.0 <= box.east <= 180.0):
        raise _bad("the box needs west and east between -180 and 180; west > east crosses the antimeridian")
    # + 0.0 turns −0.0 into 0.0, so that the canonical form has one zero
    return Box(box.south + 0.0, box.west + 0.0, box.north + 0.0, box.east + 0.0)


def _cell(text: str) -> str:
    try:
        if h3.is_valid_cell(text):  # type: ignore[no-untyped-call]
            # one spelling per cell: lower case, no white space
            return str(h3.int_to_str(h3.str_to_int(text)))  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        pass
    raise _bad(f"{text[:40]!r} is not an H3 cell")


def _cell_at(lat: float, lon: float, resolution: int) -> str:
    return str(h3.latlng_to_cell(lat, lon, resolution))  # type: ignore[no-untyped-call]


def _bad(detail: str) -> Rejected:
    return Rejected(reason("BAD_QUERY"), detail=detail)
