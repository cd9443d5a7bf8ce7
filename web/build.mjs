// Builds the portal's styles and scripts into the directory given as argument. No CDN, no host: npm packages only.
// Each output is named by its content, listed in manifest.json and stored gzipped beside itself.
import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import path from "node:path";

const out = process.argv[2];
if (!out) throw new Error("usage: node build.mjs OUTPUT_DIRECTORY");
await mkdir(out, { recursive: true });

const result = await build({
  entryPoints: { app: "src/app.js", chart: "src/chart.js", style: "src/styles/index.css" },
  bundle: true,
  minify: true,
  format: "esm",
  target: ["es2020", "chrome100", "firefox100", "safari15"],
  legalComments: "none", // licences.txt holds them all
  write: false,
  outdir: out,
});

const manifest = {};
const put = async (name, body) => {
  const { name: stem, ext } = path.parse(name);
  const digest = createHash("sha256").update(body).digest("hex").slice(0, 10);
  const file = `${stem}-${digest}${ext}`;
  manifest[name] = file;
  await writeFile(path.join(out, file), body);
  await writeFile(path.join(out, `${file}.gz`), gzipSync(body, { level: 9 }));
};

for (const file of result.outputFiles) {
  await put(path.basename(file.path), Buffer.from(file.contents));
}
const { dependencies } = JSON.parse(await readFile("package.json"));
const notices = await Promise.all(
  Object.keys(dependencies).map(async (name) => `${name}\n\n${await readFile(`node_modules/${name}/LICENSE`)}`),
);
await writeFile(path.join(out, "licences.txt"), notices.join("\n\n"));
await put("favicon.svg", await readFile("src/favicon.svg"));
await writeFile(path.join(out, "manifest.json"), JSON.stringify(manifest, null, 1) + "\n");
