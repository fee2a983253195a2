import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type AptArchive, openAptArchive } from "./apt.ts";
import { debField } from "./deb.ts";
import { integrityOf, nodePackage, type Pins, sha256Of } from "./pins.ts";
import { PLATFORM_NAMES, PLATFORMS, type PlatformName } from "./platform.ts";
import { writeWhole } from "./write.ts";

/*
 * What the image is made of, in a folder that is kept: fetched once, and its checksums compared
 * with the lock file each time it is used.
 */

const WITHIN_MS = 300_000;

type Architecture = "amd64" | "arm64";

/** One file of the folder. `isSound` compares its checksum with the pinned one. */
export interface Piece {
  readonly path: string;
  readonly title: string;
  readonly isSound: (bytes: Uint8Array) => boolean;
}

export interface DebPiece extends Piece {
  readonly name: string;
  readonly version: string;
  readonly architecture: Architecture;
}

/** The npm package that holds Node's program. */
export function nodePiece(pins: Pins, platform: PlatformName, folder: string): Piece {
  const name = nodePackage(platform);
  const file = `${name}-${pins.node.version}.tgz`;
  return {
    path: join(folder, file),
    title: `${name} ${pins.node.version}`,
    isSound: (bytes) => integrityOf(bytes) === pins.node.integrity[platform],
  };
}

/** Debian's packages, in the order of the lock file. */
export function debPieces(pins: Pins, platform: PlatformName, folder: string): readonly DebPiece[] {
  const { architecture } = PLATFORMS[platform];
  return pins.debian.packages.map(({ name, version, sha256 }) => ({
    name,
    version,
    architecture,
    path: join(folder, `${name}-${sha256[architecture]}.deb`),
    title: `${name} ${version} for ${architecture}`,
    isSound: (bytes) => sha256Of(bytes) === sha256[architecture],
  }));
}

/** Its bytes. Throws where it is missing or is not what was pinned. */
export function readPiece({ path, title, isSound }: Piece): Buffer {
  if (!existsSync(path)) {
    throw new Error(`Cannot find ${title} in ${path}: run "npm run image -- --fetch"`);
  }
  const bytes = readFileSync(path);
  if (isSound(bytes)) return bytes;
  throw new Error(
    `Cannot use ${title}: the checksum of ${path} is not the one in the lock file; remove it, ` +
      "and if the archive gives the same again, do not build",
  );
}

/** Fetches what is missing, and says what; nobody is asked where nothing is. Throws. */
export function fetchPieces(
  pins: Pins,
  platforms: readonly PlatformName[],
  folder: string,
): readonly string[] {
  mkdirSync(folder, { recursive: true });
  const fetched: string[] = [];
  const keep = (piece: Piece, bytes: Uint8Array) => {
    if (!piece.isSound(bytes)) {
      throw new Error(
        `Cannot use ${piece.title}: its checksum is not the one in the lock file; if its ` +
          'publisher changed it under the same version, find out why before "--update-lock"',
      );
    }
    writeWhole(piece.path, bytes);
    fetched.push(piece.title);
  };
  for (const platform of platforms) {
    const node = nodePiece(pins, platform, folder);
    if (!existsSync(node.path)) {
      keep(node, packFromNpm(nodePackage(platform), pins.node.version, folder));
    }
    const missing = debPieces(pins, platform, folder).filter(({ path }) => !existsSync(path));
    if (missing.length === 0) continue;
    withArchive(PLATFORMS[platform].architecture, (archive) => {
      for (const piece of missing) keep(piece, archive.download(piece.name, piece.version));
    });
  }
  return fetched;
}

/**
 * The pins of today: Node as package.json has it, and of the same packages of Debian what its
 * archive would install now.
 */
export function renewPins(pins: Pins, nodeVersion: string, folder: string): Pins {
  mkdirSync(folder, { recursive: true });
  const integrity = { ...pins.node.integrity };
  for (const platform of PLATFORM_NAMES) {
    const name = nodePackage(platform);
    const bytes = packFromNpm(name, nodeVersion, folder);
    integrity[platform] = integrityOf(bytes);
    writeWhole(join(folder, `${name}-${nodeVersion}.tgz`), bytes);
  }
  const found = new Map<string, { version: string; sha256: Record<Architecture, string> }>();
  for (const platform of PLATFORM_NAMES) {
    const { architecture } = PLATFORMS[platform];
    withArchive(architecture, (archive) => {
      for (const { name } of pins.debian.packages) {
        const bytes = archive.download(name);
        const path = join(folder, `${name}-${sha256Of(bytes)}.deb`);
        writeWhole(path, bytes);
        const version = debField(path, "Version");
        const before = found.get(name);
        if (before && before.version !== version) {
          throw new Error(
            `Cannot pin ${name}: it is ${before.version} for one architecture and ${version} for ` +
              "another; the archive is being updated, try again later",
          );
        }
        const sums = { ...(before?.sha256 ?? { amd64: "", arm64: "" }) };
        sums[architecture] = sha256Of(bytes);
        found.set(name, { version, sha256: sums });
      }
    });
  }
  const packages = pins.debian.packages.map((pin) => ({ ...pin, ...found.get(pin.name) }));
  return { node: { version: nodeVersion, integrity }, debian: { ...pins.debian, packages } };
}

function withArchive(architecture: Architecture, use: (archive: AptArchive) => void): void {
  const archive = openAptArchive(architecture);
  try {
    use(archive);
  } finally {
    archive.close();
  }
}

/** By npm, so that its configuration says where from. */
function packFromNpm(name: string, version: string, folder: string): Buffer {
  const place = mkdtempSync(join(folder, "npm-"));
  try {
    const args = ["pack", `${name}@${version}`, "--silent", "--ignore-scripts"];
    const run = spawnSync("npm", [...args, "--pack-destination", place], {
      cwd: place,
      encoding: "utf8",
      timeout: WITHIN_MS,
    });
    if (run.status !== 0) {
      const said = run.error?.message ?? run.stderr.trim();
      throw new Error(`Cannot fetch ${name} ${version} with npm: ${said}`);
    }
    const file = `${name}-${version}.tgz`;
    return readFileSync(join(place, file));
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}
