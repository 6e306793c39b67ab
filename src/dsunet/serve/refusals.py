"""Why a request is not done, as a status and one line."""

from __future__ import annotations

from typing import Any

__all__ = ["Refusal"]


class Refusal(Exception):  # noqa: N818 -- it is an answer
    """A request is not done.

    Args:
        status: Of HTTP, 400 to 599.
        message: One line: what was given, what is needed, what to do.
        limit: The name of the bound that was met (see `ServeConfig`), if one was.
        allowed: Its value.
        retry_after: Seconds after which it is worth trying again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        limit: str = "",
        allowed: float | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.limit = limit
        self.allowed = allowed
        self.retry_after = retry_after

    def content(self, request_id: str) -> dict[str, Any]:
        """What the client is told."""
        told: dict[str, Any] = {"error": str(self), "status": self.status}
        if self.limit:
            told |= {"limit": self.limit, "allowed": self.allowed}
        return told | {"request_id": request_id}
