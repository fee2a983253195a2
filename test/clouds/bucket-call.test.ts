import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { bucketCall, refusalError } from "../../lib/clouds/bucket-call.ts";
import { CloudError } from "../../lib/clouds/error.ts";
import { openOss } from "../../lib/clouds/oss.ts";
import { openS3 } from "../../lib/clouds/s3.ts";
import { bucketWorld, KEYS } from "../stores/buckets.ts";

const START = Date.UTC(2026, 10, 20, 21);
const MEBIBYTE = 1_048_576;
const TIMEOUT = { timeout: 20_000 };
const { signal } = new AbortController();
const SIGNER = { sign: async () => ({ authorization: "canary" }), refused: () => undefined };

async function serving(context: TestContext, listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

test(
  "bucketCall() follows no redirect, and sends its signature nowhere else",
  TIMEOUT,
  async (context) => {
    const reached: string[] = [];
    const elsewhere = await serving(context, ({ method, url }, response) => {
      reached.push(`${method} ${url}`);
      response.end("another's object");
    });
    for (const status of [301, 302, 303, 307, 308]) {
      const baseUrl = await serving(context, (_, response) => {
        response.writeHead(status, { location: `${elsewhere}/v1/a` }).end();
      });
      const call = bucketCall({ baseUrl, signer: SIGNER, world: bucketWorld(() => START) });
      for (const method of ["GET", "PUT", "DELETE"] as const) {
        const answer = await call("x:Verb", { method, key: "v1/a" }, signal);
        assert.deepEqual([answer.status, answer.code], [status, "HttpError"]);
      }
    }
    assert.deepEqual(reached, []);
  },
);

test("bucketCall() stops reading an answer that is longer than anything that is stored", async () => {
  const state = { chunks: 0, isCancelled: false };
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      state.chunks += 1;
      if (state.chunks > 80) controller.close();
      else controller.enqueue(new Uint8Array(MEBIBYTE));
    },
    cancel() {
      state.isCancelled = true;
    },
  });
  const world = { ...bucketWorld(() => START), fetch: async () => new Response(body) };
  const call = bucketCall({ baseUrl: "http://127.0.0.1:9", signer: SIGNER, world });
  await assert.rejects(call("x:Get", { method: "GET", key: "v1/a" }, signal), (error) => {
    assert.ok(error instanceof CloudError);
    assert.deepEqual([error.kind, error.code], ["unavailable", "NetworkError"]);
    return true;
  });
  assert.ok(state.isCancelled && state.chunks < 70, `${state.chunks} MiB were read`);
});

/** What is sent to a storage that takes everything. */
function takingAll() {
  const sent: { readonly request: string; readonly headers: Headers }[] = [];
  const fetch: typeof globalThis.fetch = async (input, init) => {
    const { pathname, search } = new URL(String(input));
    sent.push({
      request: `${init?.method} ${pathname}${search}`,
      headers: new Headers(init?.headers),
    });
    const isPut = init?.method === "PUT";
    const xml = "<VersioningConfiguration></VersioningConfiguration>";
    return new Response(isPut ? "" : xml, { headers: { etag: '"1"' } });
  };
  return { sent, context: { world: { ...bucketWorld(() => START), fetch }, env: KEYS } };
}

const PLACE = { bucket: "acme", endpoint: null, stsEndpoint: null, role: null };

test("openOss() sends the digest of a body, which is signed, so that no half of it is stored", async () => {
  const { sent, context } = takingAll();
  const bucket = openOss({ ...PLACE, region: "cn-hangzhou", credentials: null }, context);
  const signatureOf = async (body: string) => {
    assert.equal(await bucket.put("v1/a", body, signal), "created");
    const headers = sent.at(-1)?.headers;
    assert.equal(headers?.get("content-md5"), createHash("md5").update(body).digest("base64"));
    return headers.get("authorization") ?? "";
  };
  const [one, again, other] = [
    await signatureOf("one"),
    await signatureOf("one"),
    await signatureOf("other"),
  ];
  assert.equal(one, again);
  assert.notEqual(one, other);
});

test("openS3() and openOss() prove nothing where the vendor itself answers", async () => {
  const s3 = takingAll();
  await openS3({ ...PLACE, region: "eu-west-1" }, s3.context).put("v1/a", "body", signal);
  assert.deepEqual(
    s3.sent.map(({ request }) => request),
    ["PUT /v1/a"],
  );
  const oss = takingAll();
  const settings = { ...PLACE, region: "cn-hangzhou", credentials: null };
  await openOss(settings, oss.context).put("v1/a", "body", signal);
  assert.deepEqual(
    oss.sent.map(({ request }) => request),
    ["GET /?versioning=", "PUT /v1/a"],
  );
});

test("refusalError() takes a refusal for the vendor's only where it has the vendor's code", () => {
  const kindOf = (status: number, code: string) => {
    const answer = { status, headers: new Headers(), text: "", code };
    return refusalError(answer, { operation: "x:Get", now: START }).kind;
  };
  for (const status of [301, 400, 401, 403, 404, 407, 412, 451]) {
    assert.equal(kindOf(status, "HttpError"), "unavailable", `a proxy's ${status}`);
  }
  assert.equal(kindOf(403, "AccessDenied"), "denied");
  assert.equal(kindOf(404, "NoSuchBucket"), "missing");
  assert.equal(kindOf(429, "HttpError"), "throttled");
  assert.equal(kindOf(503, "HttpError"), "throttled");
});
