"""Windows, displays and the pointer's place on X11, from the server itself.

The order and the places of windows are those of the root window's children, which the server alone decides; names come
from the clients (EWMH, ICCCM). A window that names no application is matched by its connection: the server gives every
connection an id range of its own, so a menu without a name belongs to the application whose windows come from the same
connection, if that is one application only. Whatever stays open makes a window unknown.

Windows may vanish between two questions; then the questions are asked again. When the desktop does not come to rest
within `TRIES`, the view says that it is not certain.

Monitors are those of RandR, by the names of their outputs. What a change of them leaves behind comes in several steps,
so for `SETTLE_NS` after each the view says that they are not settled.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import select
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import Xlib.threaded  # noqa: F401 - before any connection is made: it gives python-xlib real locks
from Xlib import X, Xatom
from Xlib.display import Display as Connection
from Xlib.error import BadWindow, ConnectionClosedError, DisplayError, XError
from Xlib.ext import randr, screensaver, shape
from Xlib.xobject.drawable import Window as XWindow

from assent.contracts.events import Display, Rect
from assent_agent.core.exclusion import Window
from assent_agent.core.monitors import Monitor
from assent_agent.core.screens import WindowView
from assent_agent.ports import CaptureUnavailable, ViewSink

TRIES = 5
JOIN_S = 10.0
UNSETTLED_S = 0.05
SETTLE_NS = 1_000_000_000
EDID_WORDS = 8192
UNKNOWN_WINDOW = -1
CONNECTION_LOST = (ConnectionClosedError, DisplayError, OSError)

_STRUCTURE = {
    X.MapNotify,
    X.UnmapNotify,
    X.ConfigureNotify,
    X.CirculateNotify,
    X.ReparentNotify,
    X.DestroyNotify,
    X.CreateNotify,
    X.GravityNotify,
}
_PASSIVE = ("DOCK", "NOTIFICATION", "TOOLTIP", "DND", "DESKTOP")


@dataclass(frozen=True, slots=True)
class _Named:
    """What a client window says of itself."""

    application: str
    title: str
    pid: int | None
    transient_for: int
    passive: bool
    opaque: bool


@dataclass(frozen=True, slots=True)
class _Top:
    """One child of the root window. `pixels`: it is mapped and has some."""

    rect: Rect
    pixels: bool
    popup: bool
    opaque: bool


class X11Windows:
    """The window source of an X11 session (`ports.WindowSource`).

    Callbacks must only enqueue: they are called while the source is busy, and calling back into it would wait forever.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._session: _Session | None = None
        self._on_view: ViewSink | None = None
        self._last: WindowView | None = None
        self._thread: threading.Thread | None = None
        self._wake: tuple[int, int] | None = None
        self._asking_lock = threading.Lock()
        self._asking: Connection | None = None
        self._monitors: tuple[Monitor, ...] = ()

    # -- windows --

    def start(self, on_view: ViewSink) -> None:
        with self._lock:
            if self._session is not None:
                raise RuntimeError("the window source is already started")
            try:
                self._session = _Session(Connection())
                self._on_view, self._last = on_view, None
                self._refresh()
            except (*CONNECTION_LOST, XError) as error:
                self._session = None
                raise CaptureUnavailable(f"the X server does not tell about windows: {error}") from error
            self._wake = os.pipe()
            self._thread = threading.Thread(target=self._follow, name="assent-windows", daemon=True)
            self._thread.start()

    def view(self) -> WindowView:
        with self._lock:
            return self._refresh()

    def stop(self) -> None:
        thread = self._thread
        with self._lock:
            self._on_view = None
            if self._wake is not None:
                os.write(self._wake[1], b"x")
        if thread is not None and thread is not threading.current_thread():
            thread.join(JOIN_S)
        with self._lock:
            if self._session is not None:
                self._session.close()
                self._session = None
            if self._wake is not None:
                os.close(self._wake[0])
                os.close(self._wake[1])
                self._wake = None
            self._thread = None
        with self._asking_lock:
            if self._asking is not None:
                with contextlib.suppress(*CONNECTION_LOST, XError):
                    self._asking.close()
                self._asking = None

    def _refresh(self) -> WindowView:
        """Ask, hand over what is new, and answer it. The lock is held."""
        now = time.monotonic_ns()
        if self._session is None:
            return WindowView(now, certain=False, answered_ns=now)
        try:
            view = self._session.look()
        except (*CONNECTION_LOST, XError):
            view = WindowView(now, certain=False, answered_ns=time.monotonic_ns())
        self._monitors = view.monitors or self._monitors
        if self._on_view is not None:
            self._on_view(view)
        return view

    def _follow(self) -> None:
        """Wait for changes that the server tells of; ask again soon while focus and window manager disagree."""
        settled = False
        while True:
            with self._lock:
                session, wake = self._session, self._wake
            if session is None or wake is None:
                return
            try:
                readable, _, _ = select.select(
                    [session.connection.fileno(), wake[0]], [], [], None if settled else UNSETTLED_S
                )
            except (OSError, ValueError):
                return
            if wake[0] in readable:
                return
            with self._lock:
                view = self._refresh()
            settled = view.certain and view.active != UNKNOWN_WINDOW and view.settled
            if session.lost():
                return

    # -- monitors and pointer --

    def displays(self) -> tuple[Display, ...]:
        """All monitors as they were in the last view, without asking; empty when there was none."""
        return tuple(Display(m.id, m.rect, m.scale) for m in self._monitors)

    def cursor(self) -> tuple[int, int]:
        """Where the pointer is. Raises OSError when it cannot be asked."""
        with self._asked() as connection:
            where = connection.screen().root.query_pointer()
            return where.root_x, where.root_y

    @contextlib.contextmanager
    def _asked(self) -> Iterator[Connection]:
        """A connection for questions, so that answers never overtake events. Raises OSError when it is lost."""
        with self._asking_lock:
            try:
                if self._asking is None:
                    self._asking = Connection()
                yield self._asking
            except (*CONNECTION_LOST, XError) as error:
                self._asking = None
                raise OSError(str(error)) from error


def monitors_of(connection: Connection) -> tuple[Monitor, ...]:
    """RandR monitors, or the whole screen, without a name, where there are none; the scale is that of `Xft.dpi`.

    Raises what the connection raises, and XError.
    """
    root = connection.screen().root
    scale = 1.0
    resources = root.get_full_property(Xatom.RESOURCE_MANAGER, Xatom.STRING)
    for line in (_text(resources.value) if resources else "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "Xft.dpi":
            with contextlib.suppress(ValueError):
                scale = round(float(value) / 96, 4)
    found = []
    if connection.has_extension("RANDR"):
        for id_, m in enumerate(randr.get_monitors(root).monitors):
            rect = Rect(m.x, m.y, m.width_in_pixels, m.height_in_pixels)
            name = _text(connection.get_atom_name(m.name))
            found.append(Monitor(name, rect, scale, _edid(connection, m.crtcs), id_))
    if not found:
        whole = root.get_geometry()
        found = [Monitor("", Rect(0, 0, whole.width, whole.height), scale)]
    return tuple(found)


def _edid(connection: Connection, outputs: list[int]) -> str:
    """A fingerprint of what the monitor on these outputs says of itself (EDID); empty when it says nothing."""
    told = b""
    for output in outputs:
        atom = connection.intern_atom("EDID")
        told += bytes(randr.get_output_property(connection, output, atom, X.AnyPropertyType, 0, EDID_WORDS).value)
    return hashlib.sha256(told).hexdigest() if told else ""


class _Session:
    """One connection and what was learnt through it. Not safe to share between threads."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._root: XWindow = connection.screen().root
        self._atoms = {name: connection.intern_atom(name) for name in _ATOMS}
        self._passive = {connection.intern_atom(f"_NET_WM_WINDOW_TYPE_{kind}") for kind in _PASSIVE}
        self._client_range = connection.display.info.resource_id_mask
        self._saver = connection.has_extension("MIT-SCREEN-SAVER")
        self._shape = connection.has_extension("SHAPE")
        self._generation = 0
        self._tops: dict[int, _Top] = {}
        self._named: dict[int, _Named] = {}
        self._top_of: dict[int, int] = {}
        self._windows: tuple[Window, ...] | None = None
        self._monitors: tuple[Monitor, ...] | None = None
        self._monitors_changed_ns = time.monotonic_ns()
        self._lost = False
        connection.set_error_handler(lambda *_: None)
        self._root.change_attributes(event_mask=X.SubstructureNotifyMask | X.StructureNotifyMask | X.PropertyChangeMask)
        if connection.has_extension("RANDR"):
            randr.select_input(self._root, randr.RRScreenChangeNotifyMask)
        connection.sync()

    def close(self) -> None:
        with contextlib.suppress(*CONNECTION_LOST, XError):
            self.connection.close()

    def lost(self) -> bool:
        return self._lost

    def look(self) -> WindowView:
        """The view now; asks again while the desktop changes under the questions. Raises what the connection raises."""
        try:
            for _ in range(TRIES):
                t_ns = time.monotonic_ns()
                focus = self._focus()
                self._drain()
                generation = self._generation
                try:
                    if self._monitors is None:
                        self._monitors = monitors_of(self.connection)
                    if self._windows is None:
                        self._windows = self._ask_windows()
                    active, locked = self._active(focus), self._locked()
                except XError:
                    self._windows = self._monitors = None
                    self._tops.clear()
                    self._named.clear()
                    self._top_of.clear()
                    continue
                windows, monitors = self._windows, self._monitors
                self._drain()
                if generation == self._generation and self._windows is not None:
                    return WindowView(
                        t_ns,
                        windows,
                        active,
                        generation,
                        locked=locked,
                        monitors=monitors,
                        settled=t_ns - self._monitors_changed_ns >= SETTLE_NS,
                        answered_ns=time.monotonic_ns(),
                    )
            return WindowView(t_ns, generation=self._generation, certain=False, answered_ns=time.monotonic_ns())
        except CONNECTION_LOST:
            self._lost = True
            raise

    # -- what the server tells --

    def _drain(self) -> None:
        while self.connection.pending_events():
            self._take(self.connection.next_event())

    def _take(self, event: Any) -> None:
        kind = event.type
        if kind == X.ConfigureNotify and event.window.id == self._root.id:
            self._monitors_changed()  # the server says so, too, when monitors are set that are no outputs
        elif kind in _STRUCTURE:
            changed = event.window.id
            self._tops.pop(changed, None)
            if kind in (X.ReparentNotify, X.DestroyNotify):
                self._top_of = {w: top for w, top in self._top_of.items() if changed not in (w, top)}
                self._named.pop(changed, None)
            if kind != X.CreateNotify:  # what is not mapped yet changes nothing to be seen
                self._generation += 1
            self._windows = None
        elif kind == X.PropertyNotify:
            if event.window.id != self._root.id:
                if event.atom in self._naming_atoms():
                    self._named.pop(event.window.id, None)
                    self._windows = None
            elif event.atom == self._atoms["_NET_CLIENT_LIST"]:
                self._windows = None
        elif self._shape and type(event).__name__ == "Notify" and hasattr(event, "shape"):
            self._tops.pop(event.window.id, None)
            self._generation += 1
            self._windows = None
        elif type(event).__name__ == "ScreenChangeNotify":
            self._monitors_changed()

    def _monitors_changed(self) -> None:
        self._monitors = None
        self._monitors_changed_ns = time.monotonic_ns()
        self._generation += 1

    def _naming_atoms(self) -> frozenset[int]:
        named = {self._atoms[n] for n in ("_NET_WM_NAME", "_NET_WM_WINDOW_OPACITY", "_NET_WM_WINDOW_TYPE")}
        return frozenset({Xatom.WM_NAME, Xatom.WM_CLASS, Xatom.WM_TRANSIENT_FOR, *named})

    # -- what is asked --

    def _window(self, id_: int) -> XWindow:
        return self.connection.create_resource_object("window", id_)

    def _ask_windows(self) -> tuple[Window, ...]:
        screen = self.connection.screen()
        stack = [w.id for w in self._root.query_tree().children]
        clients: list[int] = []
        by_top: dict[int, list[int]] = {}
        for client in self._clients():
            with contextlib.suppress(BadWindow):  # window managers may go on listing a window that is gone
                by_top.setdefault(self._top(client), []).append(client)
                clients.append(client)
        for id_ in stack:
            if id_ not in self._tops:
                self._tops[id_] = self._ask_top(id_)
        self._tops = {id_: self._tops[id_] for id_ in stack}
        self._named = {id_: named for id_, named in self._named.items() if id_ in self._tops or id_ in clients}
        owners = self._owners(clients)
        windows = []
        for id_ in stack:
            top = self._tops[id_]
            r = top.rect
            off_screen = r.x >= screen.width_in_pixels or r.y >= screen.height_in_pixels
            if not top.pixels or off_screen or r.x + r.width <= 0 or r.y + r.height <= 0:
                continue
            inside = by_top.get(id_, [])
            named = self._name(inside[0] if len(inside) == 1 else id_)
            windows.append(
                Window(
                    id=id_,
                    rect=r,
                    application="" if len(inside) > 1 else named.application or self._owner(id_, named, owners),
                    title=named.title,
                    pid=named.pid,
                    popup=top.popup,
                    passive=named.passive,
                    opaque=top.opaque and named.opaque,
                )
            )
        return tuple(windows)

    def _clients(self) -> list[int]:
        found = self._root.get_full_property(self._atoms["_NET_CLIENT_LIST"], Xatom.WINDOW)
        return [int(w) for w in found.value] if found else []

    def _owners(self, clients: list[int]) -> dict[int, set[str]]:
        """The applications of managed windows, by the connection they come from."""
        owners: dict[int, set[str]] = {}
        for client in clients:
            owners.setdefault(client & ~self._client_range, set()).add(self._name(client).application)
        return owners

    def _owner(self, id_: int, named: _Named, owners: dict[int, set[str]]) -> str:
        """The application that a window without a name belongs to, if that is certain."""
        if named.transient_for in self._named and self._named[named.transient_for].application:
            return self._named[named.transient_for].application
        candidates = owners.get(id_ & ~self._client_range, set())
        return next(iter(candidates)) if len(candidates) == 1 else ""

    def _ask_top(self, id_: int) -> _Top:
        window = self._window(id_)
        attributes = window.get_attributes()
        pixels = attributes.map_state == X.IsViewable and attributes.win_class == X.InputOutput
        popup = bool(attributes.override_redirect)
        if not pixels:
            return _Top(Rect(0, 0, 0, 0), pixels, popup, opaque=False)
        g = window.get_geometry()
        opaque = g.depth < 32
        if self._shape:
            shape.select_input(window, True)
            opaque = opaque and not shape.query_extents(window).bounding_shaped
        border = 2 * g.border_width
        return _Top(Rect(g.x, g.y, g.width + border, g.height + border), pixels, popup, opaque)

    def _name(self, id_: int) -> _Named:
        if (known := self._named.get(id_)) is not None:
            return known
        window = self._window(id_)
        window.change_attributes(event_mask=X.PropertyChangeMask)
        names = [n for n in self._strings(window, Xatom.WM_CLASS).split("\0") if n]
        types = window.get_full_property(self._atoms["_NET_WM_WINDOW_TYPE"], Xatom.ATOM)
        opacity = window.get_full_property(self._atoms["_NET_WM_WINDOW_OPACITY"], Xatom.CARDINAL)
        pid = window.get_full_property(self._atoms["_NET_WM_PID"], Xatom.CARDINAL)
        transient = window.get_full_property(Xatom.WM_TRANSIENT_FOR, Xatom.WINDOW)
        title = self._strings(window, self._atoms["_NET_WM_NAME"]) or self._strings(window, Xatom.WM_NAME)
        self._named[id_] = _Named(
            application=names[-1] if names else "",
            title=title.replace("\0", " "),
            pid=int(pid.value[0]) if pid and len(pid.value) else None,
            transient_for=int(transient.value[0]) if transient and len(transient.value) else 0,
            passive=bool(types and len(types.value) and int(types.value[0]) in self._passive),
            opaque=not opacity,
        )
        return self._named[id_]

    def _strings(self, window: XWindow, atom: int) -> str:
        found = window.get_full_property(atom, X.AnyPropertyType)
        return _text(found.value) if found else ""

    def _top(self, id_: int) -> int:
        """The child of the root window that a window is, or lies in; 0 when it is the root window itself."""
        if (known := self._top_of.get(id_)) is not None:
            return known
        at = id_
        while True:
            parent = self._window(at).query_tree().parent
            if not parent:
                return 0
            if parent.id == self._root.id:
                self._top_of[id_] = at
                return at
            at = parent.id

    def _focus(self) -> int:
        focus = self.connection.get_input_focus().focus
        return int(focus) if isinstance(focus, int) else int(focus.id)

    def _active(self, focus: int) -> int | None:
        """The window that has the keyboard, if focus and window manager agree; `UNKNOWN_WINDOW` if they do not."""
        found = self._root.get_full_property(self._atoms["_NET_ACTIVE_WINDOW"], Xatom.WINDOW)
        managed = int(found.value[0]) if found and len(found.value) else 0
        try:
            told = self._top(managed) if managed else 0
        except XError:  # window managers leave the name of a window that is gone
            told = UNKNOWN_WINDOW
        focused = self._top(focus) if focus not in (X.NONE, X.PointerRoot) else 0
        visible = {w.id for w in self._windows or ()}
        if focused in visible:
            return focused if told in (0, focused) else UNKNOWN_WINDOW
        return UNKNOWN_WINDOW if told > 0 else None

    def _locked(self) -> bool:
        if not self._saver:
            return False
        return screensaver.query_info(self._root).state in (screensaver.StateOn, screensaver.StateCycle)


_ATOMS = (
    "_NET_ACTIVE_WINDOW",
    "_NET_CLIENT_LIST",
    "_NET_WM_NAME",
    "_NET_WM_PID",
    "_NET_WM_WINDOW_OPACITY",
    "_NET_WM_WINDOW_TYPE",
)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else bytes(value).decode("utf-8", "replace")
