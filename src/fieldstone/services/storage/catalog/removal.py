"""Delete a bucket, with what may still be in it: unfinished uploads."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select

from fieldstone.services.storage.catalog.accounts import touch
from fieldstone.services.storage.catalog.buckets import hold_bucket
from fieldstone.services.storage.catalog.faults import CatalogFault
from fieldstone.services.storage.catalog.schema import bucket as buckets
from fieldstone.services.storage.catalog.schema import bucket_setting as settings
from fieldstone.services.storage.catalog.schema import upload as uploads
from fieldstone.services.storage.catalog.schema import version as versions
from fieldstone.services.storage.catalog.uploads import drop_parts
from fieldstone.services.storage.catalog.versions import Uses


def delete_bucket(connection: Connection, pool: Uses, bucket_id: int) -> None:
    """Delete a bucket without objects; its unfinished uploads are aborted. Raises CatalogFault: BucketNotEmpty, NoSuchBucket."""
    hold_bucket(connection, bucket_id, alone=True)
    if connection.execute(select(versions.c.id).where(versions.c.bucket_id == bucket_id).limit(1)).first():
        raise CatalogFault("BucketNotEmpty", "delete its objects, old versions and delete markers first")
    # held: a part that is written meanwhile would come after its upload's other parts have gone
    mine = select(uploads.c.id).where(uploads.c.bucket_id == bucket_id).with_for_update()
    for upload_row in connection.execute(mine).scalars().all():
        drop_parts(connection, pool, upload_row)
    connection.execute(delete(uploads).where(uploads.c.bucket_id == bucket_id))
    connection.execute(delete(settings).where(settings.c.bucket_id == bucket_id))
    connection.execute(delete(buckets).where(buckets.c.id == bucket_id))
    touch(connection, "buckets")
