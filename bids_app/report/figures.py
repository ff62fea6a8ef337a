"""The pictures of a session: grey slices with outlines as vectors, so that a reader can switch the outlines off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from bids_app.report import planes
from bids_app.report.planes import AXES, MARKS, Plane, Volume

WHOLE_SPACING = 0.75  # mm per pixel of a whole-brain slice: finer than any screen shows it
MARGIN_MM = 14.0  # around the brain, so that what a mask leaves out can be seen
ZOOM_MM = 30.0  # side of the window on a small region
ZOOM_LARGEST_MM = 140.0
ZOOM_PIXELS = 300
SHORTEST_MM = 18.0  # shorter tissue contours are noise on a whole-brain slice
#: levels of the registration figure, mm in template space, the same anatomy in every report
TEMPLATE_LEVELS = {"axial": (-22, -4, 14, 34, 54), "coronal": (-70, -44, -22, 4, 34), "sagittal": (-46, -24, 2, 24, 46)}
#: planes of the side-by-side figure, mm in template space
SEQUENCE_LEVELS = (
    *(("axial", 8), ("coronal", -18), ("sagittal", 6)),
    *(("axial", 34), ("coronal", 8), ("sagittal", -28)),
)
BRAIN_COLOR, TEMPLATE_COLOR, TISSUE_COLOR = "#ffb000", "#35d0ff", "#7ce38b"


@dataclass(frozen=True)
class Outline:
    """One closed or open line over a picture; ``path`` is SVG, mm."""

    path: str
    color: str


@dataclass(frozen=True)
class Panel:
    """One slice. ``box`` marks a part of it (left, top, width, height), ``bar`` is a scale bar's length; all mm.

    ``other`` is the same slice of what it was registered with, shown in turns with it on request.
    """

    width: float
    height: float
    image: str
    marks: str
    caption: str
    outlines: tuple[Outline, ...] = ()
    bar: float | None = None
    box: tuple[float, float, float, float] | None = None
    alt: str = ""
    other: str = ""


@dataclass(frozen=True)
class Row:
    """Panels that belong together; ``pairs`` keeps every two side by side."""

    label: str
    panels: tuple[Panel, ...]
    pairs: bool = False
    color: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A titled set of rows, or, where files are missing, the sentence ``absent`` that says so.

    ``kind`` and ``of``: what it shows, and of which reference, for the facts that stand below it.
    """

    name: str
    title: str
    text: str = ""
    rows: tuple[Row, ...] = ()
    legend: tuple[tuple[str, str], ...] = ()
    absent: str = ""
    kind: str = ""
    of: str = ""


@dataclass
class Pictures:
    """What the figures are drawn from; everything but the reference may be missing."""

    reference: Volume
    mask: Volume | None = None
    to_template: np.ndarray | None = None
    template: Volume | None = None
    template_mask: Volume | None = None
    sequences: Mapping[str, Volume] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.window = planes.grey_window(self.reference, self.mask)
        box = planes.bounds(self.mask) if self.mask is not None else None
        whole = planes.extent(self.reference)
        self.brain = box if box is not None else whole
        self.view = np.stack(
            [np.maximum(self.brain[0] - MARGIN_MM, whole[0]), np.minimum(self.brain[1] + MARGIN_MM, whole[1])]
        )

    def plane(self, name: str, position: float) -> Plane:
        """A slice over the whole field of view of the figures."""
        across, up, _ = AXES[name]
        centre, size = self.view.mean(axis=0), np.ptp(self.view, axis=0)
        return Plane(name, position, (centre[across], centre[up]), (size[across], size[up]), WHOLE_SPACING)

    def native(self, name: str, level: float) -> float:
        """Where a template level cuts the reference, mm; a share of the brain's extent without a template matrix."""
        normal = AXES[name][2]
        if self.to_template is None:
            low, high = self.brain[:, normal]
            return float((low + high) / 2 + level * (high - low) / 180)
        point = np.zeros(4)
        point[normal], point[3] = level, 1
        return float((np.linalg.inv(self.to_template) @ point)[normal])


def brain_figure(pictures: Pictures, slices: int = 6) -> Figure:
    """Brain mask over the reference, three planes."""
    title = "Brain mask"
    if pictures.mask is None or planes.bounds(pictures.mask) is None:
        return Figure("brain", title, absent="There is no brain mask to show.")
    rows = []
    for name in AXES:
        low, high = pictures.brain[:, AXES[name][2]]
        panels = []
        for position in low + (high - low) * np.linspace(0.14, 0.88, slices):
            plane = pictures.plane(name, float(position))
            inside = planes.sample(pictures.mask, plane.points())
            line = Outline(planes.contour(inside, 0.5, plane.spacing, shortest=6), BRAIN_COLOR)
            panels.append(_panel(plane, pictures.reference, pictures.window, (line,)))
        rows.append(Row(name.capitalize(), tuple(panels)))
    text = "The line is the edge of the brain mask: it should follow the cortex, leave out skull and eyes, cut nothing."
    return Figure("brain", title, text, tuple(rows), (("brain mask", BRAIN_COLOR),))


def registration_figure(pictures: Pictures, template: str) -> Figure:
    """The template's brain edge and tissue border, carried into the reference's space."""
    title = f"Registration to the template ({template})"
    if pictures.to_template is None:
        return Figure("registration", title, absent="The session has no transform to the template.")
    if pictures.template is None and pictures.template_mask is None:
        return Figure(
            "registration",
            title,
            absent="The template's files are not on this machine, so its outline cannot be drawn.",
        )
    scan, rows = pictures.template, []
    seen = None if scan is None else planes.grey_window(scan, pictures.template_mask)
    for name, levels in TEMPLATE_LEVELS.items():
        panels = []
        for level in levels:
            plane = pictures.plane(name, pictures.native(name, level))
            lines = _template_outlines(pictures, plane)
            panel = _panel(plane, pictures.reference, pictures.window, lines, level)
            panels.append(replace(panel, other=_template_slice(pictures, plane, seen)))
        rows.append(Row(name.capitalize(), tuple(panels)))
    text = (
        "The lines come from the template and were carried over by the affine transform: its brain edge and its border "
        "between tissue and fluid. Ventricles, the brain stem and the outer edge should agree; single sulci need not. "
        "Flicker (key f) shows the image and the template in turns."
    )
    legend = (("template brain edge", TEMPLATE_COLOR), ("template tissue against fluid", TISSUE_COLOR))
    return Figure("registration", title, text, tuple(rows), legend)


def sequences_figure(pictures: Pictures, reference_name: str) -> Figure:
    """Every sequence at the same positions, with the reference's brain edge and tissue border on each."""
    title = "Sequences side by side"
    if not pictures.sequences:
        return Figure("sequences", title, absent=f"Only {reference_name} was used, so there is nothing to align.")
    volumes = {reference_name: pictures.reference, **pictures.sequences}
    windows = {sequence: planes.grey_window(volume, pictures.mask) for sequence, volume in volumes.items()}
    groups = []
    for name, level in SEQUENCE_LEVELS:
        plane = pictures.plane(name, pictures.native(name, level))
        lines = _own_outlines(pictures, plane)
        panels = [_panel(plane, v, windows[s], lines, prefix=s + ", ") for s, v in volumes.items()]
        panels = [panels[0], *(replace(panel, other=panels[0].image) for panel in panels[1:])]
        groups.append((name.capitalize(), tuple(panels)))
    if len(volumes) == 2:  # three pairs fit in a row
        thirds = (groups[:3], groups[3:])
        rows = [Row("", tuple(p for _, panels in part for p in panels), pairs=True) for part in thirds]
    else:
        rows = [Row(label, panels) for label, panels in groups]
    text = (
        f"The same position in every sequence. The lines are those of {reference_name} (brain edge, border of tissue "
        "and fluid) and are the same in a row: where they leave the anatomy of another sequence, it is not aligned. "
        f"Flicker (key f) shows each in turns with {reference_name}."
    )
    legend = (("brain mask", BRAIN_COLOR), (f"tissue against fluid in {reference_name}", TISSUE_COLOR))
    return Figure("sequences", title, text, tuple(rows), legend)


def region_figure(
    name: str, title: str, pictures: Pictures, regions: Sequence[Mapping[str, Any]], level: float
) -> Figure:
    """Where the regions lie, then each of them zoomed on three planes, as it is and outlined.

    Args:
        regions: name, color, ``centre`` (world mm or None), ``volume`` (probability or label, or None), ``note``.
        level: the outline is drawn where the regions' volumes cross this.
    """
    shown = [r for r in regions if r["volume"] is not None and r["centre"] is not None]
    if not shown:
        return Figure(name, title, absent="No region of this recipe has an image to show.")
    centre = np.mean([r["centre"] for r in shown], axis=0)
    rows = [_overview(pictures, shown, centre, level)]
    for region in regions:
        if region not in shown:
            rows.append(
                Row(
                    region["name"],
                    (),
                    color=region["color"],
                    note=region["note"] or "no image of this region was found",
                )
            )
            continue
        panels, side = [], window_side(region["volume"], level)
        for plane_name in AXES:
            plane = planes.plane_through(plane_name, region["centre"], (side, side), side / ZOOM_PIXELS)
            values = planes.sample(pictures.reference, plane.points(), order=3)
            window = _local_window(values)
            lines = tuple(
                Outline(planes.contour(planes.sample(r["volume"], plane.points()), level, plane.spacing), r["color"])
                for r in shown
            )
            for outlines in ((), lines):
                panels.append(_panel(plane, values, window, outlines, bar=5.0 if plane.size[0] <= 50 else 20.0))
        rows.append(Row(region["name"], tuple(panels), pairs=True, color=region["color"], note=region["note"]))
    voxel = " × ".join(f"{v:.2g}" for v in np.linalg.norm(pictures.reference.affine[:3, :3], axis=0))
    text = (
        f"Each region on three planes through its centre: first the image alone, then the same with the outline at "
        f"{level:g}. Voxels of {voxel} mm, shown by cubic interpolation and windowed to the picture. Judge on the "
        "plain image first."
    )
    return Figure(name, title, text, tuple(rows), tuple((r["name"], r["color"]) for r in shown))


def labels_figure(
    name: str, title: str, pictures: Pictures, labels: Volume, regions: Sequence[Mapping[str, Any]], slices: int = 5
) -> Figure:
    """All of many regions on slices through the brain, for what is too much to be shown one by one.

    Args:
        labels: whole numbers, the regions' ``index``.
        regions: name, color, ``index``.
    """
    inside = planes.bounds(labels)
    if inside is None:
        return Figure(name, title, absent="No region of this recipe was found, so there is nothing to show.")
    rows = []
    for plane_name in AXES:
        low, high = inside[:, AXES[plane_name][2]]
        plain, outlined = [], []
        for position in low + (high - low) * np.linspace(0.2, 0.8, slices):
            plane = pictures.plane(plane_name, float(position))
            found = planes.sample(labels, plane.points(), order=0)
            lines = tuple(
                Outline(planes.contour((found == r["index"]).astype(np.float32), 0.5, plane.spacing), r["color"])
                for r in regions
            )
            plain.append(_panel(plane, pictures.reference, pictures.window, ()))
            outlined.append(replace(plain[-1], outlines=tuple(line for line in lines if line.path)))
        rows += [Row(plane_name.capitalize(), tuple(plain)), Row("", tuple(outlined))]
    text = "Slices through the head, first the image alone, then the same with every region outlined in its colour."
    return Figure(name, title, text, tuple(rows), tuple((r["name"], r["color"]) for r in regions))


def window_side(volume: Volume, level: float) -> float:
    """Side of the window on a region, mm: `ZOOM_MM` for a small one, nearly twice its extent for a larger one."""
    box = planes.bounds(Volume(volume.data >= level, volume.affine))
    return ZOOM_MM if box is None else float(np.clip(1.8 * np.ptp(box, axis=0).max(), ZOOM_MM, ZOOM_LARGEST_MM))


def _overview(pictures: Pictures, shown: Sequence[Mapping[str, Any]], centre: np.ndarray, level: float) -> Row:
    panels = []
    sides = [window_side(r["volume"], level) for r in shown]
    side = max(sides) + float(max(np.ptp([r["centre"] for r in shown], axis=0)))
    for name in AXES:
        plane = pictures.plane(name, float(centre[AXES[name][2]]))
        lines = tuple(
            Outline(planes.contour(planes.sample(r["volume"], plane.points()), level, plane.spacing), r["color"])
            for r in shown
        )
        left, top = plane.place(centre)
        panel = _panel(
            plane, pictures.reference, pictures.window, lines, box=(left - side / 2, top - side / 2, side, side)
        )
        panels.append(panel)
    return Row("Where they are", tuple(panels), note="the square is about the part shown below")


def _panel(
    plane: Plane,
    image: Volume | np.ndarray,
    window: tuple[float, float],
    outlines: tuple[Outline, ...],
    template_level: float | None = None,
    *,
    prefix: str = "",
    bar: float | None = None,
    box: tuple[float, float, float, float] | None = None,
) -> Panel:
    """One picture: of a volume, or of values that were sampled on the plane before."""
    values = planes.sample(image, plane.points()) if isinstance(image, Volume) else image
    rows, columns = plane.shape
    axis = "xyz"[AXES[plane.name][2]]
    caption = prefix + f"{axis} {plane.position:+.1f} mm".replace("-", "−")
    if template_level is not None:
        caption += f" (template {template_level:+g})".replace("-", "−")
    return Panel(
        width=columns * plane.spacing,
        height=rows * plane.spacing,
        image=planes.jpeg(values, window),
        marks=MARKS[plane.name],
        caption=caption,
        outlines=tuple(line for line in outlines if line.path),
        bar=bar,
        box=box,
        alt=f"{plane.name} slice, {caption}",
    )


def _template_slice(pictures: Pictures, plane: Plane, window: tuple[float, float] | None) -> str:
    """The template in the place of a slice of the reference; empty where this machine does not have it."""
    if pictures.template is None or window is None:
        return ""
    return planes.jpeg(planes.sample(pictures.template, plane.points(), to_volume=pictures.to_template), window)


def _template_outlines(pictures: Pictures, plane: Plane) -> tuple[Outline, ...]:
    points = plane.points()
    inside = None
    lines = []
    if pictures.template_mask is not None:
        inside = planes.sample(pictures.template_mask, points, to_volume=pictures.to_template)
        lines.append(Outline(planes.contour(inside, 0.5, plane.spacing, shortest=SHORTEST_MM), TEMPLATE_COLOR))
    if pictures.template is not None:
        values = planes.sample(pictures.template, points, to_volume=pictures.to_template)
        if inside is None:
            inside = (values > 0.2 * np.percentile(values, 99)).astype(np.float32)
            lines.append(Outline(planes.contour(inside, 0.5, plane.spacing, shortest=SHORTEST_MM), TEMPLATE_COLOR))
        lines.append(_tissue_outline(values, inside, plane.spacing))
    return tuple(lines)


def _own_outlines(pictures: Pictures, plane: Plane) -> tuple[Outline, ...]:
    if pictures.mask is None:
        return ()
    inside = planes.sample(pictures.mask, plane.points())
    values = planes.sample(pictures.reference, plane.points())
    brain = Outline(planes.contour(inside, 0.5, plane.spacing, shortest=SHORTEST_MM), BRAIN_COLOR)
    return brain, _tissue_outline(values, inside, plane.spacing)


def _tissue_outline(values: np.ndarray, inside: np.ndarray, spacing: float) -> Outline:
    """Border between tissue and fluid of a T1-weighted slice, at 0.62 of the median brain value, inside the edge."""
    from scipy.ndimage import binary_erosion, gaussian_filter

    brain = inside > 0.5
    if brain.sum() < 200:
        return Outline("", TISSUE_COLOR)
    level = 0.62 * float(np.median(values[brain]))
    smooth = gaussian_filter(values, 1.0 / spacing)
    core = binary_erosion(brain, iterations=max(1, round(6.0 / spacing)))
    smooth = np.where(core, smooth, level + 1e-3 * abs(level))  # no crossing at the edge itself
    return Outline(planes.contour(smooth, level, spacing, shortest=SHORTEST_MM), TISSUE_COLOR)


def _local_window(values: np.ndarray) -> tuple[float, float]:
    low, high = (float(v) for v in np.percentile(values, [0.5, 99.5]))
    return low, high if high > low else low + 1.0
