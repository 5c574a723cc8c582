"""LightRAG's Neo4j storage, with a driver from the container instead of one of its own.

The three classes differ only in which driver they receive. Everything but the life of the driver and the schema is
upstream's ``Neo4JStorage``, so the whole interface of a graph storage is there.
"""

from __future__ import annotations

import logging
from typing import Any

from dependency_injector.providers import Provider as ProviderType
from dependency_injector.wiring import Provide, Provider, inject
from lightrag.kg.shared_storage import get_data_init_lock

from app_container.bridge import BridgedDriver
from app_container.container import Container, latest_container
from app_container.errors import NotWiredError
from app_container.execution import Execution, execution
from app_container.pools.in_use import connections_in_use
from app_container.settings import Settings
from wiring.lightrag.fulltext import find_index, is_taken, own_name
from wiring.lightrag.gate import Gate, GatedDriver
from wiring.lightrag.loop_locks import use_loops_locks
from wiring.lightrag.schema import ensure_unique_entities
from wiring.lightrag.upstream_storage import Neo4JStorage

_log = logging.getLogger("wiring.lightrag")

_ATTEMPTS = 5


class _ContainerStorage(Neo4JStorage):  # type: ignore[misc]
    """A graph storage that asks a provider for its driver each time it opens a session.

    Asking each time costs a microsecond, and is what makes one LightRAG object work on whichever loop it is used.
    """

    _fulltext_index: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        use_loops_locks()  # LightRAG's constructor makes its storages, so before any of them waits for a lock

    @property
    def _driver(self) -> GatedDriver:
        provider: ProviderType[Any] | None = self.__dict__.get("_driver_provider")
        if provider is None:
            raise RuntimeError("the graph storage is not initialized; await LightRAG.initialize_storages() first")
        return GatedDriver(provider(), self._gate, self._transaction_timeout)

    @_driver.setter
    def _driver(self, _: object) -> None:
        """Ignore upstream's own assignments; the driver is the container's."""

    async def initialize(self, *_: Any) -> None:
        raise NotImplementedError

    async def _initialize(self, driver: ProviderType[Any], settings: Settings) -> None:
        if not isinstance(driver, ProviderType):
            raise NotWiredError({__name__: f"{type(self).__name__}.initialize"})
        self._gate = Gate()
        self._transaction_timeout = settings.neo4j.transaction_timeout
        self._driver_provider = driver
        self._DATABASE: str | None = settings.neo4j.database
        async with get_data_init_lock():
            label, configured = self._get_raw_workspace_label(), settings.lightrag.workspace
            await ensure_unique_entities(self._driver, self._DATABASE, label, configured)
            await self._create_fulltext_index(self._driver, self._DATABASE, self._get_workspace_label())

    def _get_fulltext_index_name(self, workspace_label: str) -> str:
        return self._fulltext_index or str(super()._get_fulltext_index_name(workspace_label))

    async def _create_fulltext_index(self, driver: Any, database: str | None, workspace_label: str) -> None:
        """Find the index of this workspace; upstream makes it if there is none. Several processes may do so at once."""
        label = self._get_raw_workspace_label()
        upstreams = str(super()._get_fulltext_index_name(workspace_label))
        own = own_name(upstreams, label)
        is_only_ours = self._normalize_index_suffix(workspace_label) == workspace_label
        for _ in range(_ATTEMPTS):
            if found := await find_index(driver, database, label):
                self._fulltext_index = found.name
                if found.usable:
                    return
            elif is_only_ours and not await is_taken(driver, database, upstreams):
                self._fulltext_index = upstreams
            else:
                self._fulltext_index = own
            await super()._create_fulltext_index(driver, database, workspace_label)
        self._fulltext_index = own  # never another workspace's, whose index would find nothing
        _log.warning("workspace %r has no full-text index; searching it for entities is slow", label)

    def connections_in_use(self) -> int:
        """How many connections of its driver are in use at this moment, by whomever."""
        driver = self._driver_provider()
        return connections_in_use(driver.driver if isinstance(driver, BridgedDriver) else driver)

    async def finalize(self) -> None:
        """Leave the driver open: it is shared, and its provider closes it."""


class Neo4JSyncStorage(_ContainerStorage):
    """On the process's sync driver: one driver per worker process, whichever loop the storage is used on."""

    @inject
    async def initialize(
        self,
        driver: ProviderType[Any] = Provider[Container.bridged_driver],
        settings: Settings = Provide[Container.settings],
    ) -> None:
        """Take the driver and make the schema."""
        await self._initialize(driver, settings)


class Neo4JAsyncStorage(_ContainerStorage):
    """On the running loop's async driver: one driver per event loop, closed with it."""

    @inject
    async def initialize(
        self,
        driver: ProviderType[Any] = Provider[Container.async_driver],
        settings: Settings = Provide[Container.settings],
    ) -> None:
        """Take the driver and make the schema."""
        await self._initialize(driver, settings)


class Neo4JHybridStorage(_ContainerStorage):
    """On the driver that fits the place: async on a loop that lasts, bridged sync on one that passes with its task."""

    @inject
    async def initialize(
        self,
        driver: ProviderType[Any] = Provider[Container.driver],
        settings: Settings = Provide[Container.settings],
    ) -> None:
        """Take the driver and make the schema; the log tells which driver, and why."""
        name, label = type(self).__name__, self._get_raw_workspace_label()
        _log.info("%s of workspace %r: %s", name, label, self.mode().reason)
        await self._initialize(driver, settings)

    def mode(self) -> Execution:
        """Which driver it takes where this is called, and why: ``lifetime`` and ``reason``."""
        return execution()


if container := latest_container():
    container.wire(modules=[__name__])
