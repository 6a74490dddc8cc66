"""Decoding of image files to training pixels: decoded, scaled to cover the training size, cropped, mirrored."""

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
    from PIL.Image import Image as PILImage

MASK_FILTER = Image.Resampling.BILINEAR  # no ringing beyond a mask's own values


@dataclass(frozen=True, eq=False)
class View:
    """One image as the network sees it.

    Attributes:
        pixels: uint8 [h, w, 3].
        mask: weight of the loss at each pixel, float32 [h, w] in 0..1; None means 1 everywhere.
    """

    pixels: NDArray[np.uint8]
    mask: NDArray[np.float32] | None

    @property
    def mirrored(self) -> View:
        """The view mirrored left to right."""
        mask = None if self.mask is None else np.ascontiguousarray(self.mask[:, ::-1])
        return View(np.ascontiguousarray(self.pixels[:, ::-1]), mask)


def decode(path: Path) -> PILImage:
    """Decode an image file, the first frame of several, rotated as EXIF says, with 8 bits per channel.

    Raises:
        UserError: it cannot be read; the message does not name the file.
    """
    try:
        with Image.open(path) as opened:
            opened.load()
            image = ImageOps.exif_transpose(opened)
    except Image.DecompressionBombError:
        raise UserError("the picture is too large", code="unreadable-image") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        text = str(error).replace(str(path), path.name)
        raise UserError(text or type(error).__name__, code="unreadable-image") from None
    if image.mode == "F":
        raise UserError(
            "its pixels are floating-point numbers; save it with 8 or 16 bits a channel", code="unreadable-image"
        )
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow's conversion would clip instead of scaling
        return Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
    return image


def centre_crop(item: Item, fit: Fit) -> View:
    """Centre crop of an image, as trained on without random crops.

    Raises:
        UserError: the image or its mask cannot be read.
    """
    if not fit.exact:
        return cut(scaled(item, fit), fit, fit.middle)
    image, mask = _image_and_mask(item)
    pixels = ImageOps.fit(image, fit.target, Image.Resampling.LANCZOS)
    return _as_view(pixels, None if mask is None else ImageOps.fit(mask, fit.target, MASK_FILTER))


def load_pixels(path: Path, side: int) -> NDArray[np.uint8]:
    """Load an image scaled to cover a square and cropped to its centre, uint8 [side, side, 3].

    Raises:
        UserError: the image cannot be read; the message does not name the file.
    """
    image = decode(path)
    opaque = (image if _alpha(image) is None else _on_white(image)).convert("RGB")
    return np.asarray(ImageOps.fit(opaque, (side, side), Image.Resampling.LANCZOS), dtype=np.uint8)


def scaled(item: Item, fit: Fit) -> View:
    """The whole image, scaled to cover its training size; windows are cropped from it.

    Raises:
        UserError: as `centre_crop`.
    """
    image, mask = _image_and_mask(item)
    pixels = image if image.size == fit.scaled else image.resize(fit.scaled, Image.Resampling.LANCZOS)
    return _as_view(pixels, None if mask is None else mask.resize(fit.scaled, MASK_FILTER))


def cut(whole: View, fit: Fit, window: PixelSize) -> View:
    """Crop the window with this left and top from a scaled image."""
    left, top = window
    part = slice(top, top + fit.target[1]), slice(left, left + fit.target[0])
    return View(whole.pixels[part], None if whole.mask is None else whole.mask[part])


def size_facts(
    size: PixelSize, fit: Fit, window: PixelSize | None = None, *, mirrored: bool = False
) -> tuple[int, ...]:
    """Size conditioning of SDXL in pixels: original height and width, crop top and left, height and width.

    The crop is measured in the scaled image, as in Podell et al. 2023 (arXiv:2307.01952, section 2.2); if the image is
    mirrored, so is the scaled image that the window lies in.

    >>> size_facts((1200, 800), Fit((512, 512), (768, 512)))
    (800, 1200, 0, 128, 512, 512)
    """
    left, top = fit.middle if window is None else window
    if mirrored:
        left = fit.slack[0] - left
    return size[1], size[0], top, left, fit.target[1], fit.target[0]


def to_latent_size(mask: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Mask [h, w] averaged over the pixels of each latent element, to [h / factor, w / factor].

    >>> to_latent_size(np.array([[0, 1, 1, 1], [0, 1, 1, 1]], dtype=np.float32), 2)
    array([[0.5, 1. ]], dtype=float32)
    """
    height, width = mask.shape
    return mask.reshape(height // factor, factor, width // factor, factor).mean((1, 3))


def _image_and_mask(item: Item) -> tuple[PILImage, PILImage | None]:
    """(image in RGB, mask or None), both at the image's original size."""
    image = _load_image(item)
    alpha = _alpha(image)
    mask = _load_mask(item, alpha)
    return (image if alpha is None else _on_white(image)).convert("RGB"), mask


def _as_view(image: PILImage, mask: PILImage | None) -> View:
    weights = None if mask is None else np.asarray(mask, dtype=np.float32) / np.float32(255)
    return View(np.asarray(image, dtype=np.uint8), weights)


def _load_image(item: Item) -> PILImage:
    if item.file is None:
        assert item.pixels is not None
        return Image.fromarray(item.pixels)
    try:
        image = decode(item.file)
    except UserError as error:
        raise UserError(
            f"{item.name} cannot be read: {error}; replace it or take it out.", code="unreadable-image"
        ) from None
    if image.size != item.size:
        was, now = (f"{width}x{height}" for width, height in (item.size, image.size))
        raise UserError(f"{item.name} was {was} when the run began and is {now} now.", code="image-changed")
    return image


def _alpha(image: PILImage) -> PILImage | None:
    """Opacity of each pixel; None if the image has no transparency."""
    if "A" in image.getbands() or "transparency" in image.info:
        return image.convert("RGBA").getchannel("A")
    return None


def _on_white(image: PILImage) -> PILImage:
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))


def _load_mask(item: Item, alpha: PILImage | None) -> PILImage | None:
    if item.mask is None:
        return alpha if item.part.alpha_mask else None
    try:
        mask = decode(item.mask).convert("L")
    except UserError as error:
        raise UserError(
            f"the mask {item.mask.name} of {item.name} cannot be read: {error}.", code="invalid-mask"
        ) from None
    return mask if mask.size == item.size else mask.resize(item.size, MASK_FILTER)
