"""What is wrong with the documentation: collected, so that one build shows all of it."""

from __future__ import annotations

from dataclasses import dataclass, field


class DocumentationError(Exception):
    """The documentation does not hold; the message lists everything found."""


@dataclass
class Problems:
    """A list of faults, each with its place."""

    messages: list[str] = field(default_factory=list)

    def add(self, place: str, message: str) -> None:
        """Note a fault."""
        self.messages.append(f"{place}: {message}")

    def raise_if_any(self) -> None:
        """Raise DocumentationError with all faults noted."""
        if self.messages:
            raise DocumentationError("\n".join(self.messages) + f"\n{len(self.messages)} problem(s)")
