"""Where the files of a workspace are, when some of its storages are files: in one folder, and so on one machine.

A worker on another machine would have other files, and with them another half of the workspace. So the folder has an
id, in a file, and the workspace's lease in Neo4j keeps the id of the folder that belongs to it.
"""

from __future__ import annotations

import shlex
import socket
import uuid
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from app_container.errors import AppContainerError
from wiring.lightrag.leases.statements import MAKE_LEASE
from wiring.lightrag.schema import make_unique, with_own_driver
from wiring.lightrag.working_dir import file_based, unwritable

if TYPE_CHECKING:
    from app_container.settings import LightRAGSettings, Settings

ID_FILE = ".folder-id"

ALTERNATIVES = "RedisKVStorage, RedisDocStatusStorage and Neo4JVectorStorage"

_CLAIM = (
    MAKE_LEASE
    + """
SET lease.lock = 'files'
SET lease.files_at = CASE WHEN coalesce(lease.files, $id) = $id THEN $at ELSE lease.files_at END
SET lease.files = coalesce(lease.files, $id)
RETURN lease.files AS id, lease.files_at AS at
"""
)


class FilesElsewhereError(AppContainerError):
    """The files of the workspace are in another folder than the one that is configured here."""


async def claim_home(
    open_session: Callable[[], AbstractAsyncContextManager[Any]], settings: LightRAGSettings, workspace: str
) -> None:
    """Note that the workspace's files are in the configured folder; does nothing when no storage is files.

    Args:
        open_session: gives an async session, to be entered.
        settings: which storages, and where the folder is.
        workspace: whose files.

    Raises:
        FilesElsewhereError: they are elsewhere; the message tells where.
        AppContainerError: the folder cannot be written.
    """
    storages = file_based(settings)
    if not storages:
        return
    folder = settings.working_dir.absolute()
    own = _folder_id(settings)

    async def work(transaction: Any) -> Any:
        result = await transaction.run(_CLAIM, workspace=workspace, id=own, at=f"{socket.gethostname()}:{folder}")
        return await result.single()

    async with open_session() as session:
        row = await session.execute_write(work)
    if row["id"] != own:
        raise FilesElsewhereError(
            f"workspace {workspace!r} has its files in {row['at']}, not in {folder} here, and {', '.join(storages)} "
            f"cannot serve two machines; use {ALTERNATIVES} or others that are servers, or if the folder was moved or "
            f"deleted: lightrag-neo4j leases release --files-moved {shlex.quote(workspace)}"
        )


def claim_configured_home(settings: Settings) -> None:
    """The same for the configured workspace, with a driver of its own, before anything is forked. Bounded in time.

    Raises:
        FilesElsewhereError: its files are elsewhere.
        AppContainerError: the folder cannot be written, or the server does not let us.
    """

    async def step(driver: Any, database: str, workspace: str, _: str) -> None:
        open_session = partial(driver.session, database=database)
        async with open_session() as session:
            await make_unique(session, "LightRAGLease", "workspace")
        await claim_home(open_session, settings.lightrag, workspace)

    if file_based(settings.lightrag):
        with_own_driver(settings, settings.lightrag.workspace, step)


def _folder_id(settings: LightRAGSettings) -> str:
    file = settings.working_dir / ID_FILE
    try:
        settings.working_dir.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            own = uuid.uuid4().hex
            new = file.with_name(f"{ID_FILE}.{own}")
            new.write_text(own)
            with suppress(FileExistsError):  # another process was faster
                file.hardlink_to(new)  # complete from the first moment
            new.unlink()
        return file.read_text().strip()
    except OSError as error:
        raise unwritable(settings, error) from None
