/*
 * npm run image -- [--out dist/image] [--platform linux/amd64]… : an OCI image of the program, made
 * without a container engine. In the folder: `oci`, a layout of all platforms; a tar of each, for
 * `docker load` and `podman load`; a bill of materials of each; image.json with the digests;
 * SHA256SUMS. The same sources give the same bytes.
 *
 * --fetch only fetches what the image is made of (infra/image/lock.json) into --pieces, where it
 * stays; --update-lock pins what npm and Debian's archive have now. Exits with 3 where a pinned
 * version has left that archive, with 2 for a wrong command line, with 1 for anything else.
 */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import * as z from "zod/mini";
import { failUsage, readArguments } from "./arguments.ts";
import { ROOT } from "./bundle.ts";
import { NotInArchive } from "./image/apt.ts";
import { type Origin, REPOSITORY } from "./image/image-config.ts";
import { packLayer } from "./image/layer.ts";
import {
  compressedBytes,
  type Image,
  imageOf,
  indexOf,
  packImage,
  writeLayout,
} from "./image/layout.ts";
import { readOrigin } from "./image/origin.ts";
import { fetchPieces, renewPins } from "./image/pieces.ts";
import { PINS_FILE, type Pins, readPins, renderPins, sha256Of } from "./image/pins.ts";
import { PLATFORM_NAMES, type PlatformName, platformShape } from "./image/platform.ts";
import { bundleProgram } from "./image/program.ts";
import { appTree, baseTree } from "./image/rootfs.ts";
import { renderSbom } from "./image/sbom.ts";
import type { BundledPackage } from "./notices.ts";

/** A new node waits for it. The program alone is 46 MB of that. */
const IMAGE_BYTES_MAX = 60_000_000;

const USAGE = `npm run image -- [options]
  --out FOLDER      where the image goes; emptied first (default: dist/image)
  --platform NAME   linux/amd64 or linux/arm64; both unless it is named
  --pieces FOLDER   where what is fetched stays
  --fetch           only fetch
  --update-lock     pin what npm and Debian's archive have now
`;

const values = readArguments(USAGE, {
  out: { type: "string", default: join(ROOT, "dist/image") },
  pieces: { type: "string", default: join(ROOT, "node_modules/.cache/kube-allowlist-image") },
  platform: { type: "string", multiple: true, default: [...PLATFORM_NAMES] },
  fetch: { type: "boolean", default: false },
  "update-lock": { type: "boolean", default: false },
});
const platforms = [...new Set(values.platform)].toSorted().map((name) => readPlatform(name));
const out = resolve(values.out);
if (`${ROOT}/`.startsWith(`${out.replace(/\/$/, "")}/`)) {
  failUsage(`Cannot make the image in ${out}: it would be emptied, and this repository is in it`);
}
const pieces = resolve(values.pieces);
const manifestShape = z.looseObject({
  version: z.string(),
  devDependencies: z.looseObject({ node: z.string() }),
});

try {
  if (values["update-lock"]) updateLock();
  else await makeImages();
} catch (error) {
  const sentences = [error, error instanceof Error ? error.cause : undefined].flatMap((each) =>
    each instanceof Error ? [each.message] : [],
  );
  process.stderr.write(`${sentences.join("\n")}\n`);
  process.exitCode = error instanceof NotInArchive ? 3 : 1;
}

function readManifest() {
  return manifestShape.parse(JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")));
}

function updateLock(): void {
  const renewed = renewPins(readPins(), readManifest().devDependencies.node, pieces);
  writeFileSync(PINS_FILE, renderPins(renewed));
  for (const { name, version } of renewed.debian.packages) {
    process.stdout.write(`${name} ${version}\n`);
  }
  process.stdout.write(`node ${renewed.node.version}\n`);
}

async function makeImages(): Promise<void> {
  const pins = readPins();
  for (const title of fetchPieces(pins, platforms, pieces)) {
    process.stdout.write(`fetched ${title}\n`);
  }
  if (values.fetch) return;
  const origin = readOrigin(readManifest().version, process.env);
  if (origin.revision === null) process.stderr.write("The image names no revision: no commit\n");
  const program = await bundleProgram();
  const app = { ...(await packLayer(appTree(program))), title: "kube-allowlist" };
  const images: Image[] = [];
  for (const platform of platforms) {
    const base = { ...(await packLayer(await baseTree(pins, platform, pieces))), title: "Node" };
    images.push(imageOf(origin, platform, [base, app]));
  }
  await writeImages(origin, images, { pins, packages: program.packages });
}

function readPlatform(name: string): PlatformName {
  const parsed = platformShape.safeParse(name);
  if (parsed.success) return parsed.data;
  return failUsage(`Cannot make an image for "${name}": write ${PLATFORM_NAMES.join(" or ")}`);
}

async function writeImages(
  origin: Origin,
  images: readonly Image[],
  content: { readonly pins: Pins; readonly packages: readonly BundledPackage[] },
): Promise<void> {
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const sums = new Map<string, string>();
  const keep = (file: string, bytes: Uint8Array | string) => {
    writeFileSync(join(out, file), bytes);
    sums.set(file, sha256Of(bytes));
  };
  const index = indexOf(origin, images);
  writeLayout(join(out, "oci"), origin, { index, images });
  const listed: Record<string, object> = {};
  for (const image of images) {
    const stem = `kube-allowlist-${origin.version}-${image.platform.replace("/", "-")}`;
    const bytes = compressedBytes(image);
    keep(`${stem}.tar`, await packImage(origin, image));
    keep(`${stem}.cdx.json`, renderSbom(origin, image, content));
    listed[image.platform] = { digest: image.manifest.digest, bytes, name: stem };
    process.stdout.write(`${image.platform} ${bytes.toLocaleString("en")} bytes compressed\n`);
    if (bytes > IMAGE_BYTES_MAX) {
      throw new Error(`Cannot make an image of ${bytes} bytes: at most ${IMAGE_BYTES_MAX}`);
    }
  }
  const { version } = origin;
  const summary = { name: REPOSITORY, version, digest: index.digest, platforms: listed };
  keep("image.json", `${JSON.stringify(summary, null, 2)}\n`);
  const lines = [...sums.keys()].toSorted().map((file) => `${sums.get(file)}  ${file}\n`);
  writeFileSync(join(out, "SHA256SUMS"), lines.join(""));
  process.stdout.write(`${REPOSITORY}:${origin.version}@${index.digest}\n`);
}
