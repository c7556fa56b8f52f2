"""The look of every picture: white paper, one camera for each kind of view, readable colour bars, a scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pyvista as pv
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.ticker import MaxNLocator

from twin.view.palette import ANTISOLVENT, INK, PRECURSOR

WIDTH = 1200
#: From the antisolvent's colour over white, which is fully mixed, to the precursor's.
STREAMS = LinearSegmentedColormap.from_list(
    "streams", ["#0b2545", ANTISOLVENT, "#8fc1e3", "#f7f7f5", "#f7b267", PRECURSOR, "#7a2e0e"]
)
FONT = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
#: Heights in pixels: of a colour bar alone, of a line of text, of the heading.
_BAR, _LINE, _HEADING = 18, 24, 40
_FONT_FILE = 4  # VTK_FONT_FILE
#: Units of a scale and how many of them are a mm, the longest first.
_LENGTHS = ((1e-3, "m"), (1.0, "mm"), (1e3, "µm"))


class Canvas:
    """One off-screen picture that looks along `forward`, with the direction `right` to the right, and shows `points`.

    `above` and `below` are heights in pixels that are left free for a heading and a legend.
    """

    def __init__(self, points: Any, forward: Any, right: Any, above: int = _HEADING, below: int = _HEADING) -> None:
        forward = np.asarray(forward, float) / np.linalg.norm(forward)
        right = np.asarray(right, float) - np.dot(right, forward) * forward
        right /= np.linalg.norm(right)
        upward = np.cross(right, forward)
        places = np.asarray(points, float) @ np.column_stack((right, upward))
        low, high = places.min(axis=0), places.max(axis=0)
        extent = np.maximum(high - low, 1e-9)
        self._scale = extent[0] * 1.03 / WIDTH  # world lengths per pixel
        self.height = int(np.clip(extent[1] / self._scale + above + below, 200, 1200))
        self._scale = max(self._scale, extent[1] / (self.height - above - below))
        middle = (low + high) / 2 + np.array([0.0, (above - below) / 2 * self._scale])
        focus = middle[0] * right + middle[1] * upward + np.mean(points, axis=0) @ forward * forward
        self._corner = focus - self._scale * (WIDTH / 2 * right + self.height / 2 * upward)
        self._right, self._upward = right, upward
        self.plotter = pv.Plotter(off_screen=True, window_size=(WIDTH, self.height))
        self.plotter.set_background("white")
        self.plotter.enable_anti_aliasing("ssaa")
        camera = self.plotter.camera
        camera.focal_point, camera.position, camera.up = focus, focus - 1e3 * forward, upward
        self.plotter.enable_parallel_projection()
        camera.parallel_scale = self._scale * self.height / 2

    def __enter__(self) -> Canvas:
        return self

    def __exit__(self, *_: object) -> None:
        self.plotter.close()

    @classmethod
    def flat(cls, mesh: Any) -> Canvas:
        """Against +y, with the outlet to the right and the +x arm on top."""
        return cls(mesh.points, (0, -1, 0), (0, 0, 1), above=24, below=24)

    @classmethod
    def sections(cls, mesh: Any) -> Canvas:
        """Up the outlet, with the +x arm on top; room for a line of labels and a colour bar below."""
        return cls(mesh.points, (0, 0, -1), (0, -1, 0), above=60, below=115)

    @classmethod
    def solid(cls, mesh: Any, above: float = 0.5) -> Canvas:
        """From the side of +y, from above and a little from downstream; the outlet runs to the right."""
        return cls(mesh.points, (-above, -1.0, -0.3), (0, 0, 1), above=30, below=30)

    @classmethod
    def plane(cls, mesh: Any, right: int, upward: int) -> Canvas:
        """Square at a plane section, with one axis to the right and one up; room for a colour bar and a scale below."""
        return cls(mesh.points, np.cross(np.eye(3)[upward], np.eye(3)[right]), np.eye(3)[right], above=50, below=90)

    def paint(self, mesh: Any, scalars: str, limits: tuple[float, float], **options: Any) -> Any:
        """Adds a surface coloured by a scalar, without light, so that colours are those of the bar."""
        return self.plotter.add_mesh(
            mesh, scalars=scalars, clim=limits, show_scalar_bar=False, lighting=False, copy_mesh=True,
            reset_camera=False, **options,
        )

    def body(self, mesh: Any, **options: Any) -> Any:
        """Adds something of one colour."""
        return self.plotter.add_mesh(mesh, reset_camera=False, **options)

    def outline(self, mesh: Any, color: str = INK, width: int = 2) -> None:
        """Draws the edge of a plane section."""
        edges = mesh.extract_feature_edges(
            boundary_edges=True, feature_edges=False, manifold_edges=False, non_manifold_edges=False
        )
        if edges.n_cells:
            self.body(edges, color=color, line_width=width, lighting=False)

    def bar(self, actor: Any, title: str, ticks: list[float] | None = None) -> None:
        """A horizontal colour bar with its title above, in the lower right corner."""
        low, high = actor.mapper.scalar_range
        if ticks is None:
            ticks = [tick for tick in MaxNLocator(6).tick_values(low, high) if low <= tick <= high]
        left, width, bottom = 0.60, 0.36, 0.04 * WIDTH / self.height * 0.25
        height = (_BAR + _LINE) / self.height
        bar = self.plotter.add_scalar_bar(
            " ", mapper=actor.mapper, n_labels=len(ticks), vertical=False, position_x=left, position_y=bottom,
            width=width, height=height, color=INK, label_font_size=15, fmt="%g", n_colors=256,
            unconstrained_font_size=True,
        )
        values = pv.convert_array(np.array(ticks, float))
        bar.SetCustomLabels(values)
        bar.SetUseCustomLabels(True)
        bar.SetBarRatio(_BAR / (_BAR + _LINE))
        bar.SetTextPad(3)
        _in_font(bar.GetLabelTextProperty(), 15)
        middle = (left + width / 2) * WIDTH
        self.say(title, (middle, bottom * self.height + _BAR + _LINE + 8), anchor="center")

    def heading(self, text: str, left: bool = False) -> None:
        """A line in an upper corner."""
        place = (14.0 if left else WIDTH - 14.0, self.height - 28.0)
        self.say(text, place, size=17, anchor="left" if left else "right")

    def say(
        self, text: str, place: tuple[float, float], color: str = INK, size: int = 15, anchor: str = "left"
    ) -> None:
        """A line of text at a place in pixels from the lower left corner."""
        actor = self.plotter.add_text(text, position=place, font_size=8, color=color)
        text_property = actor.GetTextProperty()
        _in_font(text_property, size)
        {"left": text_property.SetJustificationToLeft, "center": text_property.SetJustificationToCentered,
         "right": text_property.SetJustificationToRight}[anchor]()

    def label(self, point: Any, text: str, color: str = INK, anchor: str = "center", size: int = 15) -> None:
        """A text that stands at a point of the drawing."""
        self.plotter.add_point_labels(
            np.array([point], float), [text], font_size=size, text_color=color, shape=None, show_points=False,
            always_visible=True, justification_horizontal=anchor, justification_vertical="center",
            reset_camera=False, font_file=FONT,
        )

    def ruler(self, start: tuple[float, float, float], length: float, text: str) -> None:
        """A bar of a known length along z, with its length below."""
        x, y, z = start
        self.body(pv.Line((x, y, z), (x, y, z + length)), color=INK, line_width=4, lighting=False)
        self.label((x - 16 * self._scale, y, z + length / 2), text)

    def scale(self, text: str) -> None:
        """A bar of a round length in the lower left corner, with its length and a text beside it."""
        length = _round(180 * self._scale)
        start = self._corner + self._scale * (14.0 * self._right + 30.0 * self._upward)
        self.body(pv.Line(start, start + length * self._right), color=INK, line_width=4, lighting=False)
        factor, unit = next((f, u) for f, u in _LENGTHS if length * f >= 0.1 or u == "µm")
        self.say(f"{length * factor:g} {unit}; {text}", (28.0 + length / self._scale, 22.0))

    def save(self, path: Path) -> None:
        """Writes the PNG."""
        self.plotter.renderer.ResetCameraClippingRange()
        self.plotter.screenshot(str(path), return_img=False)


def _round(length: float) -> float:
    """The largest of 1, 2, 5, 10, … that is no longer."""
    power = 10.0 ** np.floor(np.log10(length))
    return float(power * max(step for step in (1, 2, 5) if step * power <= length * (1 + 1e-9)))


def _in_font(text_property: Any, size: int) -> None:
    text_property.SetFontFamily(_FONT_FILE)
    text_property.SetFontFile(FONT)
    text_property.SetFontSize(size)
    text_property.SetBold(False)
    text_property.SetItalic(False)
    text_property.SetShadow(False)
