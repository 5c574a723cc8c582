"""What becomes of the properties of what is merged: what LightRAG itself would have made of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from app_container.errors import MissingExtraError

if TYPE_CHECKING:
    from app_container.settings import LightRAGSettings

_UNKNOWN = "UNKNOWN"  # the type of an entity that only a relation named

Properties = dict[str, Any]


class MergeRules:
    """How LightRAG merges what it extracts, with its limits; see ``lightrag.operate``.

    Raises:
        MissingExtraError: LightRAG is not installed.
    """

    def __init__(self, settings: LightRAGSettings) -> None:
        try:
            from lightrag import LightRAG
            from lightrag.utils import normalize_source_ids_limit_method
        except ModuleNotFoundError as error:
            raise MissingExtraError("LightRAG", "lightrag", error.name) from None
        defaults = {f.name: f.default_factory if callable(f.default_factory) else f.default for f in fields(LightRAG)}
        self._limits: dict[str, Any] = {
            name: settings.options[name] if name in settings.options else default() if callable(default) else default
            for name, default in defaults.items()
            if name.startswith(("max_source_ids_", "max_file_", "source_ids_", "file_path_"))
        }
        self._keep_new = normalize_source_ids_limit_method(self._limits["source_ids_limit_method"]) == "FIFO"

    def node(self, copies: list[Properties], sources: list[Properties]) -> Properties:
        """One entity of several, oldest first, with the sources of relations that are dropped."""
        from lightrag.constants import GRAPH_FIELD_SEP

        evident = [found | {"source_id": GRAPH_FIELD_SEP.join(_evidence(_source_ids(found)))} for found in sources]
        merged = self._unite([*copies, *evident], "entity")
        types = [str(copy["entity_type"]) for copy in copies if copy.get("entity_type")]
        if types:
            known = [name for name in reversed(types) if name != _UNKNOWN]
            merged["entity_type"] = Counter(known or types).most_common(1)[0][0]
        return merged

    def relation(self, copies: list[Properties]) -> Properties:
        """One relation of several between the same two, oldest first."""
        from lightrag.constants import GRAPH_FIELD_SEP

        merged = self._unite(copies, "relation")
        words = {
            word.strip()
            for copy in copies
            for word in str(copy.get("keywords") or "").replace(GRAPH_FIELD_SEP, ",").split(",")
        }
        if "keywords" in merged:
            merged["keywords"] = ",".join(sorted(words - {""}))
        weighed = [(set(_source_ids(copy)), _weight(copy)) for copy in copies]
        counted: list[tuple[set[str], float]] = []
        for sources, weight in sorted(weighed, key=lambda one: (-len(one[0]), -one[1])):
            if not any(sources <= other for other, _ in counted):
                counted.append((sources, weight))
        # As in LightRAG, each source weighs 1 at the least.
        evidence = _evidence(_source_ids(merged))
        total = sum(weight for _, weight in counted)
        merged["weight"] = max(total, float(len(evidence)), *(weight for _, weight in weighed))
        return merged

    def _unite(self, copies: list[Properties], kind: str) -> Properties:
        from lightrag.constants import GRAPH_FIELD_SEP
        from lightrag.utils import apply_source_ids_limit, merge_source_ids

        merged = {key: value for copy in copies for key, value in copy.items()}
        lists = {
            key: merge_source_ids((), [copy.get(key) for copy in copies])
            for key in ("source_id", "description", "file_path")
            if key in merged
        }
        if "source_id" in lists:
            found = lists["source_id"]
            if kind == "relation":
                found = _evidence(found) or found
            method = "FIFO" if self._keep_new else "KEEP"
            kept = apply_source_ids_limit(found, self._limits[f"max_source_ids_per_{kind}"], method)
            lists["source_id"] = kept
            cut = f"FIFO {len(kept)}/{len(found)}" if self._keep_new else "KEEP Old"
            flags = [copy["truncate"] for copy in copies if copy.get("truncate")] + [cut] * (len(kept) < len(found))
            merged |= {"truncate": flags[-1]} if flags else {}
        if "file_path" in lists:
            lists["file_path"] = self._paths(lists["file_path"])
        return merged | {key: GRAPH_FIELD_SEP.join(values) for key, values in lists.items()}

    def _paths(self, paths: list[str]) -> list[str]:
        more, limit = f"...{self._limits['file_path_more_placeholder']}", self._limits["max_file_paths"]
        found = [path for path in paths if not path.startswith(more)]
        if len(found) <= limit and len(found) == len(paths):
            return found
        return [*found[-limit:], f"{more}...(FIFO)"] if self._keep_new else [*found[:limit], f"{more}...(KEEP Old)"]


def _source_ids(found: Properties) -> list[str]:
    """The sources of an entity or relation, each once."""
    from lightrag.utils import merge_source_ids

    sources: list[str] = merge_source_ids((), [found.get("source_id")])
    return sources


def _evidence(sources: list[str]) -> list[str]:
    """Without what LightRAG writes where a relation has no source, e.g. because somebody made it by hand."""
    from lightrag.constants import RELATION_NO_EVIDENCE_SOURCE_IDS

    return [source for source in sources if source not in RELATION_NO_EVIDENCE_SOURCE_IDS]


def _weight(relation: Properties) -> float:
    try:
        return float(relation.get("weight", 1.0))
    except (TypeError, ValueError):
        return 0.0
