"""Celery tasks that are not lost: acknowledged when they are done, and done again when what failed will pass.

A message is acknowledged after its task, so the broker delivers it again when the process or the whole worker died. It
does so for ever, and a task that kills its process would go on killing. So deliveries are counted, in a header of the
message: a task that is delivered again is sent anew with the count, after a pause, until ``delivery_limit``.
"""

from __future__ import annotations

import os
from typing import Any, NoReturn

from celery import Task, states
from celery.backends.rpc import RPCBackend
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.time import get_exponential_backoff_interval

from app_container.errors import DeliveryLimitError, ProcessDiedError
from app_container.transient import passing_cause

LOST = "lightrag_neo4j_lost"
"""The header with the number of deliveries that were lost."""

_IS_FINAL = "_lightrag_neo4j_is_final"


class ReliableTask(Task):  # type: ignore[type-arg]  # the stub's type arguments are unknown at run time
    """The base of tasks that must not be lost, plain ones and coroutines: ``@app.task(base=ReliableTask)``.

    Its attributes can be set for each task, as Celery's own: ``@app.task(base=ReliableTask, max_retries=3)``. The task
    must be idempotent: it may run again after it was done, when its process died before the broker was told.

    Attributes:
        max_retries: how often it is tried again after an error that passes (see ``app_container.transient``); then it
            fails with that error. None: for ever.
        retry_backoff: seconds before the first new try; the pause doubles with each.
        retry_backoff_max: seconds, the longest pause.
        delivery_limit: how often it may be taken up by processes that die; then it fails with ``DeliveryLimitError``.
    """

    acks_late = True
    reject_on_worker_lost = True
    track_started = False  # it says itself that it has begun, after it has looked whether it had before
    max_retries = 10
    retry_backoff = 1
    retry_backoff_max = 60
    delivery_limit = 6

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task as a worker does; called directly, it is the function it was made of."""
        if self.request.called_directly:
            return super().__call__(*args, **kwargs)
        if not self.request.is_eager:
            self._begin()
        try:
            return self.run(*args, **kwargs)
        except (Ignore, Reject, Retry):
            raise
        except Exception as error:
            cause = passing_cause(error)
            retries = self.request.retries
            if not isinstance(cause, Exception) or getattr(error, _IS_FINAL, False):
                raise
            if self.max_retries is not None and retries >= self.max_retries:
                raise cause from None
            self._send_again(cause, self._pause(retries), retries=retries + 1)

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """Celery's own: try again, or at its limit raise the error that it is given, which is final then."""
        try:
            return super().retry(*args, **kwargs)
        except (Ignore, Reject, Retry):
            raise
        except Exception as error:
            setattr(error, _IS_FINAL, True)
            raise

    @property
    def lost(self) -> int:
        """How many deliveries of the running task were lost: its process died, or its worker lost the broker."""
        return int((self.request.headers or {}).get(LOST, 0))

    def on_give_up(self, error: DeliveryLimitError) -> None:
        """Called before the task fails for good because its processes died; for what else should know of it."""

    def _begin(self) -> None:
        if (self.request.delivery_info or {}).get("redelivered") and self._had_begun():
            self._after_a_loss()
        if not self.request.ignore_result:
            self.update_state(state=states.STARTED, meta={"pid": os.getpid(), "hostname": self.request.hostname})

    def _had_begun(self) -> bool:
        """Whether a delivery before this one got as far; one that waited in a worker for its time did not."""
        if self.request.ignore_result or isinstance(self.backend, RPCBackend):  # whose results only the caller reads
            return True  # nobody knows
        try:
            return self.backend.get_task_meta(str(self.request.id))["status"] not in (states.PENDING, states.RETRY)
        except Exception:  # noqa: BLE001 - each backend has its own; without one, nobody knows
            return True

    def _after_a_loss(self) -> NoReturn:
        lost = self.lost + 1
        if lost >= self.delivery_limit:
            error = DeliveryLimitError(
                f"{self._told()} was taken up {lost} times, and each time its process died or was lost; "
                "see the worker's log for the reason, then send it again"
            )
            self.on_give_up(error)
            raise error
        reason = ProcessDiedError("the process that ran it died, or its worker lost the broker")
        self._send_again(reason, self._pause(lost), lost=lost)

    def _send_again(
        self, reason: Exception, pause: int, *, retries: int | None = None, lost: int | None = None
    ) -> NoReturn:
        """Send a message in place of the present one, which Celery acknowledges then."""
        again = self.signature_from_request(
            self.request,
            countdown=pause,
            retries=self.request.retries if retries is None else retries,
            headers={
                **self.request.as_execution_options()["headers"],
                LOST: self.lost if lost is None else lost,
            },
        )
        if not self.request.is_eager:
            try:
                again.apply_async()
            except Exception as error:
                raise Reject(error, requeue=True) from error  # it cannot be replaced, so it must stay
        raise Retry(exc=reason, when=pause, is_eager=self.request.is_eager, sig=again)  # type: ignore[arg-type]

    def _told(self) -> str:
        """What the task does, as the subject of a sentence."""
        return f"task {self.name!r}"

    def _pause(self, tries: int) -> int:
        """Seconds; a random part of a time that doubles, so that many tasks do not come back at once."""
        return 1 + get_exponential_backoff_interval(self.retry_backoff, tries, self.retry_backoff_max, full_jitter=True)
