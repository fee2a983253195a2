import assert from "node:assert/strict";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import * as fc from "fast-check";
import { unpackTar } from "modern-tar";
import { OWN_ID, packLayer, type Tree, type TreeEntry } from "../../scripts/image/layer.ts";
import { sha256Of } from "../../scripts/image/pins.ts";

const name = fc.stringMatching(/^[a-z][a-z0-9.+-]{0,8}$/);
const path = fc.array(name, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const entry: fc.Arbitrary<TreeEntry> = fc.oneof(
  fc.record({
    kind: fc.constant("file" as const),
    content: fc.uint8Array({ maxLength: 700 }),
    isExecutable: fc.boolean(),
  }),
  fc.record({ kind: fc.constant("link" as const), target: name }),
  fc.record({
    kind: fc.constant("folder" as const),
    mode: fc.constantFrom(0o700, 0o755, 0o1777),
    owner: fc.constantFrom(0, OWN_ID),
  }),
);
const tree = fc
  .array(fc.tuple(path, entry), { maxLength: 12 })
  .map((entries) => new Map(entries))
  // What is a file cannot be the folder of another one.
  .filter((entries) =>
    [...entries].every(
      ([own, { kind }]) =>
        kind === "folder" || ![...entries.keys()].some((other) => other.startsWith(`${own}/`)),
    ),
  );

/** What a reader finds, by the path. */
async function readLayer(bytes: Uint8Array) {
  const entries = await unpackTar(gunzipSync(bytes), { strict: true });
  return entries.map(({ header, data: content }) => ({ ...header, content }));
}

test("packLayer() gives the same bytes whatever the order of its files, and the time of day", async () => {
  await fc.assert(
    fc.asyncProperty(tree, fc.integer({ min: 0, max: 4_000_000_000 }), async (files, seconds) => {
      const first = await packLayer(files);
      const shuffled: Tree = new Map([...files].toReversed());
      const RealDate = Date;
      // A writer that stamps entries with the time would do it here.
      globalThis.Date = class extends RealDate {
        constructor(value?: number | string) {
          super(value ?? seconds * 1_000);
        }
      } as DateConstructor;
      try {
        const second = await packLayer(shuffled);
        assert.equal(second.digest, first.digest);
        assert.equal(second.diffId, first.diffId);
      } finally {
        globalThis.Date = RealDate;
      }
    }),
    { numRuns: 40 },
  );
});

test("packLayer() keeps every file, link and folder, after the folders on the way to it", async () => {
  await fc.assert(
    fc.asyncProperty(tree, async (files) => {
      const entries = await readLayer((await packLayer(files)).bytes);
      const found = new Map(entries.map((each) => [each.name.replace(/\/$/, ""), each]));
      for (const [own, wanted] of files) {
        const got = found.get(own);
        assert.ok(got, own);
        if (wanted.kind === "file") {
          assert.deepEqual(Buffer.from(got.content ?? []), Buffer.from(wanted.content));
          assert.equal(got.mode, wanted.isExecutable ? 0o755 : 0o644);
        }
        if (wanted.kind === "link") assert.equal(got.linkname, wanted.target);
        if (wanted.kind === "folder") {
          assert.deepEqual([got.mode, got.uid, got.gid], [wanted.mode, wanted.owner, wanted.owner]);
        }
      }
      const seen = new Set([""]);
      for (const { name: raw } of entries) {
        const own = raw.replace(/\/$/, "");
        const folder = own.includes("/") ? own.slice(0, own.lastIndexOf("/")) : "";
        assert.ok(seen.has(folder), `${own} comes before its folder`);
        seen.add(own);
      }
    }),
    { numRuns: 40 },
  );
});

test("packLayer() writes owners as numbers, no times, and no name of anybody", async () => {
  const { bytes } = await packLayer(
    new Map<string, TreeEntry>([
      ["a/b", { kind: "file", content: Buffer.from("x"), isExecutable: false }],
      ["own", { kind: "folder", mode: 0o700, owner: OWN_ID }],
    ]),
  );
  for (const { mtime, uname, gname, uid, name: own } of await readLayer(bytes)) {
    assert.equal(mtime?.getTime(), 0, own);
    assert.equal(`${uname ?? ""}${gname ?? ""}`, "", own);
    assert.equal(uid, own === "own/" ? OWN_ID : 0, own);
  }
  // RFC 1952: four bytes of time.
  assert.equal(Buffer.from(bytes).readUInt32LE(4), 0);
});

test("packLayer() names itself by the digest of its bytes, and of the tar within", async () => {
  const layer = await packLayer(
    new Map([["a", { kind: "file", content: Buffer.from("x"), isExecutable: true }]]),
  );
  assert.equal(layer.digest, `sha256:${sha256Of(layer.bytes)}`);
  assert.equal(layer.diffId, `sha256:${sha256Of(gunzipSync(layer.bytes))}`);
});
