import assert from "node:assert/strict";
import { test } from "node:test";
import { openBucket } from "../../lib/clouds/bucket.ts";
import type { BucketAnswer } from "../../lib/clouds/bucket-call.ts";
import { CloudError } from "../../lib/clouds/error.ts";
import { virtualWorld } from "../virtual-world.ts";

const DATE = "Fri, 20 Nov 2026 21:00:00 GMT";
const { signal } = new AbortController();
const DIALECT = {
  operations: { put: "x:Put", get: "x:Get", list: "x:List", delete: "x:Delete" },
  creating: () => ({}),
  refusalOf: () => null,
};

/** A bucket whose every request is answered with the next of these. */
function bucketOf(...texts: readonly string[]) {
  const left = [...texts];
  const call = async (): Promise<BucketAnswer> => ({
    status: 200,
    headers: new Headers({ date: DATE }),
    text: left.shift() ?? "",
    code: null,
  });
  return openBucket({ call, dialect: DIALECT, world: virtualWorld() });
}

const WRITTEN = { status: 200, headers: { etag: '"1"' }, text: "" };

/** A bucket whose writes are answered with the one, and whose reads with the other. */
function written(
  put: { readonly status: number; readonly headers?: object; readonly text?: string },
  get: { readonly status: number; readonly text: string; readonly code?: string },
) {
  const answer = (given: typeof put & { readonly code?: string }): BucketAnswer => ({
    status: given.status,
    headers: new Headers({ date: DATE, ...given.headers }),
    text: given.text ?? "",
    code: given.code ?? null,
  });
  const call = async (operation: string) => answer(operation === "x:Put" ? put : get);
  return openBucket({ call, dialect: DIALECT, world: virtualWorld() });
}

function isUnreadable(error: unknown): true {
  assert.ok(error instanceof CloudError, String(error));
  assert.deepEqual([error.kind, error.code], ["unavailable", "UnreadableAnswer"]);
  return true;
}

const ABSENT = { status: 404, text: "", code: "NoSuchKey" };

test("put() believes an answer only that a storage gives, and else what it reads back", async () => {
  const page = "<html><p>Welcome to our network";
  const error = "<Error><Code>InternalError</Code></Error>";
  assert.equal(await written(WRITTEN, ABSENT).put("v1/a", "body", signal), "created");
  for (const doubtful of [
    { status: 200, text: page },
    { status: 200, headers: { etag: '"1"' }, text: page },
    { status: 200, headers: { etag: '"1"' }, text: error },
    { status: 200 },
    { ...WRITTEN, status: 204 },
    { ...WRITTEN, status: 202 },
  ]) {
    const put = (get: Parameters<typeof written>[1]) =>
      written(doubtful, get).put("v1/a", "body", signal);
    assert.equal(await put({ status: 200, text: "body" }), "created");
    await assert.rejects(put(ABSENT), isUnreadable);
    await assert.rejects(put({ status: 200, text: page }), isUnreadable);
    await assert.rejects(put({ status: 204, text: "" }), isUnreadable);
    await assert.rejects(put({ status: 500, text: "", code: "InternalError" }), CloudError);
  }
});

test("get() takes a 200 for an object, and no other success", async () => {
  const get = (status: number) => written(WRITTEN, { status, text: "body" }).get("v1/a", signal);
  assert.equal(await get(200), "body");
  for (const status of [202, 203, 204, 206]) await assert.rejects(get(status), isUnreadable);
});

const row = (key: string, modified = "2026-11-20T20:59:00.000Z") =>
  `<Contents><Key>${key}</Key><LastModified>${modified}</LastModified></Contents>`;
const page = (rows: string, next = "<IsTruncated>false</IsTruncated>") =>
  `<ListBucketResult>${next}${rows}</ListBucketResult>`;
const MORE = "<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>";

const list = (bucket: ReturnType<typeof bucketOf>, limit = 10) =>
  bucket.list("v1/", { limit, isKey: () => true, signal });

test("list() gives the keys of all pages, with ages that are never too long", async () => {
  const pages = [page(row("v1/1") + row("v1/10"), MORE), page("", MORE), page(row("v1/2"))];
  assert.deepEqual(await list(bucketOf(...pages)), [
    { key: "v1/1", ageMs: 59_000 },
    { key: "v1/10", ageMs: 59_000 },
    { key: "v1/2", ageMs: 59_000 },
  ]);
  assert.deepEqual(await list(bucketOf(page(row("v1/1", "2026-11-20T21:00:01Z")))), [
    { key: "v1/1", ageMs: 0 },
  ]);
});

test("list() rejects what is not a list in ascending order from beginning to end", async () => {
  const answers: readonly (readonly string[])[] = [
    [page(row("v1/2") + row("v1/1"))],
    [page(row("v1/1") + row("v1/1"))],
    [page(row("v1/2"), MORE), page(row("v1/1"))],
    [page(row("v1/2"), MORE), page(row("v1/2"))],
    [page(row("v2/1"))],
    [page(row(""))],
    [page(row("v1/1", "yesterday"))],
    [page(row("v1/1", "2026-11-20"))],
    [page(row("v1/1"), "")],
    [page(row("v1/1"), "<IsTruncated>maybe</IsTruncated>")],
    [page(row("v1/1"), "<IsTruncated>true</IsTruncated>")],
    [page("<Contents><LastModified>2026-11-20T20:59:00Z</LastModified></Contents>")],
    ["<Error><Code>Fine</Code></Error>"],
    [page(row("v1/1"), MORE), ""],
    Array.from({ length: 1_002 }, () => page("", MORE)),
  ];
  for (const texts of answers) {
    await assert.rejects(list(bucketOf(...texts)), (error) => {
      assert.ok(error instanceof CloudError, texts[0]);
      assert.equal(error.code, "UnreadableAnswer");
      assert.equal(error.kind, "unavailable");
      return true;
    });
  }
});
