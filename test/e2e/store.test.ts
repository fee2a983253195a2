import assert from "node:assert/strict";
import { after, before, type TestContext, test } from "node:test";
import { makeLogger } from "../../lib/logger.ts";
import { openLog } from "../../lib/stores/log.ts";
import { s3Store } from "../../lib/stores/s3.ts";
import { type Store, StoreError } from "../../lib/stores/store.ts";
import { makeWorld } from "../../lib/world.ts";
import { testStore } from "../stores/conformance.ts";
import { MOTO, skipWithout } from "./assets.ts";
import { type Moto, startMoto } from "./moto.ts";

/*
 * The store `s3` against a third-party S3: its requests and signatures are understood by somebody
 * else's server, and that server's answers by us.
 */

const skip = skipWithout(MOTO);
const SILENT = { write: () => true } as unknown as NodeJS.WriteStream;
const world = makeWorld(makeLogger("error", { log: SILENT, audit: SILENT }));
let moto: Moto;
let buckets = 0;

before(async () => {
  if (!skip) moto = await startMoto();
});
after(async () => {
  if (!skip) await moto.stop();
});

/** An empty bucket; whoever opens it comes with keys of their own. */
async function makeBucket(): Promise<() => Store> {
  buckets += 1;
  const bucket = `acme-allowlist-${buckets}`;
  const location = "<LocationConstraint>eu-west-1</LocationConstraint>";
  const made = await fetch(`${moto.url}/${bucket}`, {
    method: "PUT",
    body: `<CreateBucketConfiguration>${location}</CreateBucketConfiguration>`,
    signal: AbortSignal.timeout(10_000),
  });
  assert.equal(made.status, 200, await made.text());
  return () => openStore(bucket);
}

function openStore(bucket: string, role: { readonly arn: string } | null = null): Store {
  const place = { bucket, region: moto.region, endpoint: moto.url, stsEndpoint: moto.url };
  return s3Store({ bucket, prefix: "some/where/" }, () => ({ ...place, role }), {
    world,
    env: moto.env,
  });
}

if (!skip) {
  testStore({
    name: "s3Store() against moto",
    stepMs: 1_000,
    make: async (_: TestContext) => ({ open: await makeBucket(), pass: (ms) => world.sleep(ms) }),
  });
}

test("s3Store() keeps a log against moto, of which 20 writers at once each win one number", {
  skip,
  timeout: 60_000,
}, async () => {
  const open = await makeBucket();
  const logs = Array.from({ length: 20 }, () =>
    openLog({
      store: open(),
      prefix: "",
      installation: "acme",
      kind: "clusters",
      name: "eu",
      parse: (stored) => stored as { text: string },
      world,
    }),
  );
  const entries = await Promise.all(logs.map((log, at) => log.append(0, { text: `${at}` })));
  const winners = entries.flatMap((entry) => (entry === "exists" ? [] : [entry.writer]));
  assert.equal(winners.length, 1);
  const newest = await logs[0]?.newest();
  assert.equal(newest?.revision, 1);
  assert.equal(newest.writer, winners[0]);
});

test("s3Store() assumes a role against moto, with the SDK that it does without otherwise", {
  skip,
  timeout: 60_000,
}, async () => {
  const open = await makeBucket();
  await open().put("v1/a", "body");
  const role = { arn: "arn:aws:iam::123456789012:role/allowlist" };
  const store = openStore(`acme-allowlist-${buckets}`, role);
  assert.equal(await store.get("v1/a"), "body");
  assert.equal(await store.put("v1/a", "other"), "exists");
});

test("s3Store() names a bucket that moto does not have", { skip, timeout: 60_000 }, async () => {
  await assert.rejects(openStore("nobodys-bucket").get("v1/a"), (error) => {
    assert.ok(error instanceof StoreError);
    assert.match(error.message, /NoSuchBucket.*create the bucket, or correct store\.bucket/);
    return true;
  });
});
