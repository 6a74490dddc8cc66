// Turns SVG texts into PNG pictures: a JSON object of texts on standard input, of base64 PNGs on standard
// output. Usage: node rasterize.mjs WIDTH < svgs.json > pngs.json   (needs @resvg/resvg-js beside it)
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const { Resvg } = createRequire(process.cwd() + "/")("@resvg/resvg-js");
const width = Number(process.argv[2]);
const pictures = {};
for (const [name, svg] of Object.entries(JSON.parse(readFileSync(0, "utf8")))) {
  pictures[name] = new Resvg(svg, { fitTo: { mode: "width", value: width } }).render().asPng().toString("base64");
}
process.stdout.write(JSON.stringify(pictures));
