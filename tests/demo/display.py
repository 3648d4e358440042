"""What the newcomer sees: chapters with ticks, tables at the end. Plain words, on any terminal."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.status import Status
from rich.table import Table
from rich.text import Text

WIDTH = 118


class Display:
    """Prints the story as it happens. Safe to use from several threads."""

    def __init__(self, console: Console | None = None) -> None:
        made = console or Console(highlight=False)
        if not made.is_terminal:
            made.width = WIDTH
        self.console = made
        self._alone = threading.Lock()
        self._status: Status | None = None

    def opening(self, lines: Sequence[str]) -> None:
        self.console.print(Panel(Text("\n".join(lines)), title="Assent: the whole way, on this machine", expand=False))

    @contextmanager
    def chapter(self, number: int, title: str) -> Iterator[None]:
        """A chapter: its title, and a wheel that turns while it goes on."""
        self.console.print()
        self.console.print(Text.assemble((f"{number:>2}  ", "bold cyan"), (title, "bold")))
        with self.console.status("", spinner="dots") as status:
            self._status = status
            try:
                yield
            finally:
                self._status = None

    def doing(self, text: str) -> None:
        """What is going on right now; nothing stays of it."""
        if self._status is not None:
            self._status.update(Text(text, style="dim"))

    def tick(self, text: str, ok: bool = True) -> None:
        """Something was done, or found to be so (or not)."""
        self._line(Text("✓", "green") if ok else Text("✗", "bold red"), Text(text))

    def note(self, text: str, style: str = "dim") -> None:
        self._line(Text(" "), Text(text, style))

    def _line(self, mark: Text, text: Text) -> None:
        """One line with a mark; what does not fit goes on below, indented."""
        grid = Table.grid(padding=(0, 1, 0, 0))
        grid.add_column(width=4, justify="right")
        grid.add_column(overflow="fold")
        grid.add_row(mark, text)
        with self._alone:
            self.console.print(grid)

    def table(
        self,
        title: str,
        columns: Sequence[tuple[str, int | None]],
        rows: Sequence[Sequence[str]],
        *,
        lines: bool = False,
    ) -> None:
        """A table; each column with its title and its share of the width (None: as wide as its words)."""
        shape = box.ROUNDED if lines else box.SIMPLE_HEAD
        table = Table(title=title, title_justify="left", title_style="bold", box=shape, show_lines=lines)
        for name, ratio in columns:
            table.add_column(name, overflow="fold", ratio=ratio)
        for row in rows:
            cells = [Text(cell) for cell in row]
            for cell in cells:
                if cell.plain == "✓":
                    cell.stylize("green")
                elif cell.plain == "✗":
                    cell.stylize("bold red")
            table.add_row(*cells)
        self.console.print()
        self.console.print(table)

    def trouble(self, what: str, log: str, lines: str) -> None:
        """The story broke off: why, and the end of the log that tells more."""
        self.console.print()
        self.console.print(Text.assemble(("The demo broke off. ", "bold red"), what))
        if lines:
            self.console.print(Panel(Text(lines), title=log, expand=False))
