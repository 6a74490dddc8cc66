"""An image file to the pixels that are trained on: decoded, scaled to cover its size, cut out, mirrored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from snrlab.core.errors import UserError
from snrlab.data.images.buckets import Fit, PixelSize
from snrlab.data.items import Item

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

MASK_FILTER = Image.Resampling.BILINEAR  # no ringing beyond a mask's own values


@dataclass(frozen=True, eq=False)
class View:
    """One image as the network sees it.

    Attributes:
        pixels: uint8 [h, w, 3].
        mask: where the error counts, float32 [h, w] in 0..1; None is everywhere.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.float32] | None

    @property
    def mirrored(self) -> View:
        """The same, left to right."""
        mask = None if self.mask is None else np.ascontiguousarray(self.mask[:, ::-1])
        return View(np.ascontiguousarray(self.pixels[:, ::-1]), mask)


def decode(path: Path) -> Picture:
    """The image of a file, of several the first, turned as EXIF says, with 8 bits a channel.

    Raises:
        UserError: it cannot be read; the message does not name the file.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except Image.DecompressionBombError:
        raise UserError("the picture is too large", code="unreadable-image") from None
    except (OSError, SyntaxError, ValueError, EOFError) as reason:
        text = str(reason).replace(str(path), path.name)
        raise UserError(text or type(reason).__name__, code="unreadable-image") from None
    if image.mode == "F":
        raise UserError(
            "its pixels are floating-point numbers; save it with 8 or 16 bits a channel", code="unreadable-image"
        )
    if image.mode.startswith("I"):  # sixteen-bit grey, which Pillow's conversion would clip instead of scale
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    return image


def centre_crop(item: Item, fit: Fit) -> View:
    """The middle of an image, as it is trained on where nothing is drawn.

    Raises:
        UserError: the image or its mask cannot be read.
    """
    if not fit.exact:
        return cut(scaled(item, fit), fit, fit.middle)
    picture, mask = _layers(item)
    pixels = ImageOps.fit(picture, fit.target, Image.Resampling.LANCZOS)
    return _view(pixels, None if mask is None else ImageOps.fit(mask, fit.target, MASK_FILTER))


def load_pixels(path: Path, side: int) -> NDArray[np.uint8]:
    """An image scaled to cover a square and cut to its middle, uint8 [side, side, 3].

    Raises:
        UserError: the image cannot be read; the message does not name the file.
    """
    image = decode(path)
    opaque = (image if _alpha(image) is None else _on_white(image)).convert("RGB")
    return np.asarray(ImageOps.fit(opaque, (side, side), Image.Resampling.LANCZOS), dtype=np.uint8)


def scaled(item: Item, fit: Fit) -> View:
    """The whole image, scaled to cover its size: what windows are cut out of.

    Raises:
        UserError: as `centre_crop`.
    """
    picture, mask = _layers(item)
    pixels = picture if picture.size == fit.scaled else picture.resize(fit.scaled, Image.Resampling.LANCZOS)
    return _view(pixels, None if mask is None else mask.resize(fit.scaled, MASK_FILTER))


def cut(whole: View, fit: Fit, window: PixelSize) -> View:
    """The window of a scaled image with this left and top."""
    left, top = window
    part = slice(top, top + fit.target[1]), slice(left, left + fit.target[0])
    return View(whole.pixels[part], None if whole.mask is None else whole.mask[part])


def size_facts(
    size: PixelSize, fit: Fit, window: PixelSize | None = None, *, mirrored: bool = False
) -> tuple[int, ...]:
    """What SDXL is told: original height and width, crop top and left, height and width, in pixels.

    The crop is counted in the scaled image, as Podell et al. 2023 (arXiv:2307.01952, section 2.2) do; where the picture
    is mirrored, so is the scaled image that the window lies in.

    >>> size_facts((1200, 800), Fit((512, 512), (768, 512)))
    (800, 1200, 0, 128, 512, 512)
    """
    left, top = fit.middle if window is None else window
    if mirrored:
        left = fit.slack[0] - left
    return size[1], size[0], top, left, fit.target[1], fit.target[0]


def to_latent_size(mask: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """A mask [h, w] averaged over the pixels of each latent element: [h / factor, w / factor].

    >>> to_latent_size(np.array([[0, 1, 1, 1], [0, 1, 1, 1]], dtype=np.float32), 2)
    array([[0.5, 1. ]], dtype=float32)
    """
    height, width = mask.shape
    return mask.reshape(height // factor, factor, width // factor, factor).mean((1, 3))


def _layers(item: Item) -> tuple[Picture, Picture | None]:
    """The image in colour, and its mask if it has one, both at their own size."""
    image = _image_of(item)
    alpha = _alpha(image)
    mask = _mask_of(item, alpha)
    return (image if alpha is None else _on_white(image)).convert("RGB"), mask


def _view(pixels: Picture, mask: Picture | None) -> View:
    counts = None if mask is None else np.asarray(mask, dtype=np.float32) / np.float32(255)
    return View(np.asarray(pixels, dtype=np.uint8), counts)


def _image_of(item: Item) -> Picture:
    if item.file is None:
        assert item.pixels is not None
        return Image.fromarray(item.pixels)
    try:
        image = decode(item.file)
    except UserError as reason:
        raise UserError(
            f"{item.name} cannot be read: {reason}; replace it or take it out.", code="unreadable-image"
        ) from None
    if image.size != item.size:
        was, now = (f"{width}x{height}" for width, height in (item.size, image.size))
        raise UserError(f"{item.name} was {was} when the run began and is {now} now.", code="image-changed")
    return image


def _alpha(image: Picture) -> Picture | None:
    """How opaque each pixel is, where the image says so."""
    if "A" in image.getbands() or "transparency" in image.info:
        return image.convert("RGBA").getchannel("A")
    return None


def _on_white(image: Picture) -> Picture:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))


def _mask_of(item: Item, alpha: Picture | None) -> Picture | None:
    if item.mask is None:
        return alpha if item.part.alpha_mask else None
    try:
        mask = decode(item.mask).convert("L")
    except UserError as reason:
        raise UserError(
            f"the mask {item.mask.name} of {item.name} cannot be read: {reason}.", code="invalid-mask"
        ) from None
    return mask if mask.size == item.size else mask.resize(item.size, MASK_FILTER)
