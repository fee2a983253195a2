import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod/mini";
import { ROOT } from "../bundle.ts";
import { PLATFORM_NAMES, PLATFORMS, type PlatformName } from "./platform.ts";

/*
 * What the image takes from elsewhere, each by version and checksum: Node's program from npm, and
 * packages of Debian.
 */

/** The lock file of the image. */
export const PINS_FILE = join(ROOT, "infra/image/lock.json");

const architectureShape = z.enum(["amd64", "arm64"]);
const sha256Shape = z.stringFormat("sha256", /^[0-9a-f]{64}$/);

const debianShape = z.strictObject({
  name: z.stringFormat("package of Debian", /^[a-z0-9][a-z0-9+.-]+$/),
  version: z.stringFormat("version of Debian", /^[0-9][A-Za-z0-9.+:~-]*$/),
  /** As SPDX writes it, by hand: Debian's own files of copyrights are prose. */
  licence: z.string().check(z.minLength(3)),
  /** Of the package's file. */
  sha256: z.record(architectureShape, sha256Shape),
});

const pinsShape = z.strictObject({
  node: z.strictObject({
    version: z.stringFormat("version", /^\d+\.\d+\.\d+$/),
    /** Of the npm package's file, as npm writes it. */
    integrity: z.record(
      z.enum(PLATFORM_NAMES),
      z.stringFormat("integrity", /^sha512-[A-Za-z0-9+/]{86}==$/),
    ),
  }),
  debian: z.strictObject({
    /** The number of Debian's release. */
    release: z.string(),
    packages: z.array(debianShape).check(z.minLength(1)),
  }),
});

export type DebianPin = z.output<typeof debianShape>;
export type Pins = z.output<typeof pinsShape>;

/** Throws what is wrong with the text, all of it at once. */
export function parsePins(text: string): Pins {
  const parsed = pinsShape.safeParse(JSON.parse(text));
  if (parsed.success) return parsed.data;
  throw new Error(`Cannot read ${PINS_FILE}: ${z.prettifyError(parsed.error)}`);
}

export function readPins(): Pins {
  return parsePins(readFileSync(PINS_FILE, "utf8"));
}

/** The text of the lock file: the same pins, the same text. */
export function renderPins(pins: Pins): string {
  const packages = pins.debian.packages.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const whole = { ...pins, debian: { ...pins.debian, packages } };
  return `${JSON.stringify(whole, null, 2)}\n`;
}

/** The npm package that holds Node's program for a platform. */
export function nodePackage(platform: PlatformName): string {
  return `node-linux-${PLATFORMS[platform].npm}`;
}

/** As a lock file of npm has it. */
export function integrityOf(bytes: Uint8Array): string {
  return `sha512-${createHash("sha512").update(bytes).digest("base64")}`;
}

export function sha256Of(bytes: Uint8Array | string): string {
  return createHash("sha256").update(bytes).digest("hex");
}
