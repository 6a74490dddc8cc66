"""Rebuild the emoji data set that ships with snrlab from packages of the npm registry.

Three styles of the same concepts at 64 px on white, one lossless WebP sheet each, and a list of names
and tags. Running it twice gives the same bytes (with the same Pillow and resvg).

    python scripts/build_emoji.py                    # needs npm, pillow and numpy
    python scripts/build_emoji.py --cache DIR        # keep the downloads
    python scripts/build_emoji.py --target DIR       # write there instead of into the package
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGES = {
    "emoji-datasource-google@16.0.0": "fb5fd131b362aab7a55542d2a147a79708cce0a8b1c1bbacd470172708b5c438",
    "@lobehub/fluent-emoji-3d@1.1.0": "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
    "emojibase-data@17.0.0": "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
    "@iconify-json/fluent-emoji-high-contrast@1.2.6": (
        "0b92d48c90d2200bd499e3cdd09a127ca6a8c8ddefd34c35eb5a1e4994012ae0"
    ),
}
NOTO, FLUENT, ANNOTATIONS, INK = PACKAGES
RASTERIZER = "@resvg/resvg-js@2.6.2"
GROUPS = {0: "smileys", 1: "people", 3: "animals", 4: "food", 5: "places", 6: "activities", 7: "objects"}
TILE, COLUMNS = 64, 37
TARGET = Path(__file__).parent.parent / "src" / "snrlab" / "data" / "emoji"


def fetch(spec: str, cache: Path) -> Path:
    """Download a package into the cache, unless it is there, and check its hash."""
    name, _, version = spec.rpartition("@")
    path = cache / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
    if not path.exists():
        subprocess.run(["npm", "pack", "--silent", spec], cwd=cache, check=True, stdout=subprocess.DEVNULL)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != PACKAGES[spec]:
        raise SystemExit(f"{path}: sha256 is {digest}, expected {PACKAGES[spec]}")
    return path


class Package:
    """One npm package, opened without unpacking it."""

    def __init__(self, path: Path) -> None:
        """The package in this file, as `npm pack` made it."""
        self._tar = tarfile.open(path)  # noqa: SIM115  (lives as long as the script)
        self.names = set(self._tar.getnames())

    def read(self, name: str) -> bytes:
        """Content of one file of the package."""
        file = self._tar.extractfile(f"package/{name}")
        if file is None:
            raise SystemExit(f"no {name} in the package")
        return file.read()

    def images(self, folder: str, suffix: str) -> dict[str, str]:
        """File names under a folder by code points, variation selectors left out."""
        prefix = f"package/{folder}/"
        files = (n.removeprefix("package/") for n in self.names if n.startswith(prefix) and n.endswith(suffix))
        return {bare(Path(n).stem): n for n in sorted(files, key=len)}


def bare(code: str) -> str:
    """Code points in lower case without the variation selector, which styles use differently."""
    return "-".join(part for part in code.lower().split("-") if part != "fe0f")


def ink_drawings(package: Package) -> dict[str, str]:
    """The drawings of the ink style as SVG, by code point."""
    icons = json.loads(package.read("icons.json"))
    size = f'viewBox="0 0 {icons["width"]} {icons["height"]}"'
    return {
        bare(code): f'<svg xmlns="http://www.w3.org/2000/svg" {size} color="#000">{icons["icons"][name]["body"]}</svg>'
        for code, name in json.loads(package.read("chars.json")).items()
        if name in icons["icons"]
    }


def rasterized(svgs: dict[str, str], cache: Path) -> dict[str, bytes]:
    """Drawings as PNG of one tile, black on nothing."""
    subprocess.run(["npm", "install", "--silent", "--no-save", RASTERIZER], cwd=cache, check=True)
    done = subprocess.run(
        ["node", str(Path(__file__).with_name("rasterize.mjs").absolute()), str(TILE)],
        input=json.dumps(svgs), cwd=cache, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return {code: base64.b64decode(png) for code, png in json.loads(done.stdout).items()}


def on_white(data: bytes) -> np.ndarray:
    """A transparent picture scaled to the tile in premultiplied alpha and laid over white, uint8 [64, 64, 3]."""
    image = Image.open(io.BytesIO(data)).convert("RGBA")
    if image.size != (TILE, TILE):
        premultiplied = image.convert("RGBa")
        image = premultiplied.resize((TILE, TILE), Image.Resampling.LANCZOS).convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB"))


def concepts(annotations: Package, *styles: dict[str, str]) -> list[dict[str, object]]:
    """Emoji without skin tones, flags, symbols and components that every style has, by code point."""
    listed = []
    for emoji in json.loads(annotations.read("en/data.json")):
        code = bare(emoji["hexcode"])
        if emoji.get("group") not in GROUPS or any(code not in style for style in styles):
            continue
        name = emoji["label"].lower()
        tags = [t for t in dict.fromkeys(tag.lower() for tag in emoji.get("tags", [])) if t != name]
        listed.append({"code": code, "name": name, "tags": tags, "group": GROUPS[emoji["group"]]})
    return sorted(listed, key=lambda c: [int(part, 16) for part in str(c["code"]).split("-")])


def write_sheet(tiles: list[np.ndarray], path: Path) -> None:
    """The tiles row by row as one lossless WebP."""
    rows = -(-len(tiles) // COLUMNS)
    sheet = np.full((rows * TILE, COLUMNS * TILE, 3), 255, dtype=np.uint8)
    for place, tile in enumerate(tiles):
        y, x = place // COLUMNS * TILE, place % COLUMNS * TILE
        sheet[y : y + TILE, x : x + TILE] = tile
    Image.fromarray(sheet).save(path, lossless=True, quality=100, method=6)


def build(packages: dict[str, Package], ink: dict[str, bytes], target: Path) -> None:
    """Write the sheets and the list."""
    noto = packages[NOTO].images("img/google/64", ".png")
    fluent = packages[FLUENT].images("assets", ".webp")
    listed = concepts(packages[ANNOTATIONS], noto, fluent)
    codes = [str(concept["code"]) for concept in listed]
    pictures = {
        "noto": {code: packages[NOTO].read(noto[code]) for code in codes},
        "fluent_3d": {code: packages[FLUENT].read(fluent[code]) for code in codes},
        "ink": {code: ink[code] for code in codes if code in ink},
    }
    target.mkdir(parents=True, exist_ok=True)
    for style, files in pictures.items():
        write_sheet([on_white(files[code]) for code in codes if code in files], target / f"{style}.webp")
    styles = {
        s: {"sheet": f"{s}.webp", "missing": [c for c in codes if c not in files]} for s, files in pictures.items()
    }
    listing = {"tile": TILE, "columns": COLUMNS, "styles": styles, "concepts": listed}
    (target / "concepts.json").write_text(json.dumps(listing, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for group in GROUPS.values():
        print(f"{group:12} {sum(c['group'] == group for c in listed)}")
    for style, files in pictures.items():
        print(f"{style:12} {len(files)} pictures")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, help="folder for the downloaded packages (default: a temporary one)")
    parser.add_argument("--target", type=Path, default=TARGET, help="folder to write to (default: the package's)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        cache = (arguments.cache or Path(temporary)).absolute()
        packages = {spec: Package(fetch(spec, cache)) for spec in PACKAGES}
        build(packages, rasterized(ink_drawings(packages[INK]), cache), arguments.target)
