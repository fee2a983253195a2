import { createHash } from "node:crypto";
import type { BundledPackage } from "../notices.ts";
import { type Origin, REPOSITORY, SOURCE, timeText } from "./image-config.ts";
import type { Image } from "./layout.ts";
import { type DebianPin, nodePackage, type Pins } from "./pins.ts";
import { PLATFORMS, type PlatformName } from "./platform.ts";

/*
 * What is in an image, as CycloneDX 1.6: the npm packages that the bundles hold, Node, and the
 * packages of Debian that files were taken from.
 */

interface Component {
  readonly type: "application" | "container" | "library" | "operating-system" | "platform";
  readonly "bom-ref": string;
  readonly name: string;
  readonly version: string;
  readonly licenses?: readonly object[];
  readonly hashes?: readonly object[];
  readonly purl?: string;
  readonly cpe?: string;
  readonly description?: string;
  readonly externalReferences?: readonly object[];
}

/** The bill of materials of one platform's image, as text; the same image, the same text. */
export function renderSbom(
  origin: Origin,
  image: Image,
  parts: { readonly pins: Pins; readonly packages: readonly BundledPackage[] },
): string {
  const { pins, packages } = parts;
  const root = imageComponent(origin, image);
  const components = [
    ...packages.map((bundled) => npmComponent(bundled)),
    nodeComponent(pins, image.platform),
    ...pins.debian.packages.map((pin) => debianComponent(pin, pins, image.platform)),
    systemComponent(pins),
  ].toSorted((a, b) => (a["bom-ref"] < b["bom-ref"] ? -1 : 1));
  const sbom = {
    $schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
    bomFormat: "CycloneDX",
    specVersion: "1.6",
    serialNumber: `urn:uuid:${uuidOf(image.manifest.digest)}`,
    version: 1,
    metadata: { timestamp: timeText(origin.created), component: root },
    components,
    dependencies: [
      { ref: root["bom-ref"], dependsOn: components.map((component) => component["bom-ref"]) },
    ],
  };
  return `${JSON.stringify(sbom, null, 2)}\n`;
}

function imageComponent(origin: Origin, { manifest, platform }: Image): Component {
  const { architecture } = PLATFORMS[platform];
  const name = REPOSITORY.split("/").at(-1) ?? REPOSITORY;
  const query = `arch=${architecture}&repository_url=${encodeURIComponent(REPOSITORY)}`;
  const purl = `pkg:oci/${name}@${encodeURIComponent(manifest.digest)}?${query}`;
  return {
    type: "container",
    "bom-ref": purl,
    name,
    version: origin.version,
    licenses: licencesOf("Apache-2.0"),
    purl,
    externalReferences: [{ type: "vcs", url: SOURCE }],
  };
}

function npmComponent({ name, version, license }: BundledPackage): Component {
  const purl = `pkg:npm/${encodeURIComponent(name).replaceAll("%2F", "/")}@${version}`;
  const licenses = license === undefined ? {} : { licenses: licencesOf(license) };
  return { type: "library", "bom-ref": purl, name, version, ...licenses, purl };
}

function nodeComponent({ node }: Pins, platform: PlatformName): Component {
  const purl = `pkg:npm/${nodePackage(platform)}@${node.version}`;
  const sha512 = Buffer.from(node.integrity[platform].replace("sha512-", ""), "base64");
  return {
    type: "platform",
    "bom-ref": purl,
    name: "node",
    version: node.version,
    description: "The program of Node.js, as this npm package holds it",
    // Of the npm package that it was taken from.
    hashes: [{ alg: "SHA-512", content: sha512.toString("hex") }],
    licenses: licencesOf("MIT"),
    purl,
    // By this name its vulnerabilities are published.
    cpe: `cpe:2.3:a:nodejs:node.js:${node.version}:*:*:*:*:*:*:*`,
  };
}

function debianComponent(pin: DebianPin, { debian }: Pins, platform: PlatformName): Component {
  const { architecture } = PLATFORMS[platform];
  const isForAll = pin.sha256.amd64 === pin.sha256.arm64;
  const query = `arch=${isForAll ? "all" : architecture}&distro=debian-${debian.release}`;
  const [name, version] = [pin.name, pin.version].map(encodeURIComponent);
  const purl = `pkg:deb/debian/${name}@${version}?${query}`;
  return {
    type: "library",
    "bom-ref": purl,
    name: pin.name,
    version: pin.version,
    hashes: [{ alg: "SHA-256", content: pin.sha256[architecture] }],
    licenses: licencesOf(pin.licence),
    purl,
  };
}

/** By it scanners know which Debian's vulnerabilities to look at. */
function systemComponent({ debian }: Pins): Component {
  const reference = `debian-${debian.release}`;
  return {
    type: "operating-system",
    "bom-ref": reference,
    name: "debian",
    version: debian.release,
    description: "Where the libraries come from; nothing else of it is there",
  };
}

/** CycloneDX knows one licence by its identifier, and more of them as an expression. */
function licencesOf(spdx: string): readonly object[] {
  const isOne = /^[A-Za-z0-9.+-]+$/.test(spdx);
  return [isOne ? { license: { id: spdx } } : { expression: spdx.replace(/^\((.*)\)$/, "$1") }];
}

/** RFC 9562, version 8: of what is given alone. */
function uuidOf(text: string): string {
  const bytes = createHash("sha256").update(text).digest().subarray(0, 16);
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80;
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80;
  return bytes.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}
