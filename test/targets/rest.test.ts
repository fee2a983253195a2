import assert from "node:assert/strict";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { inspect } from "node:util";
import { CloudError } from "../../lib/clouds/error.ts";
import { openRest, type RestOptions, type RestRequest, readPages } from "../../lib/clouds/rest.ts";
import { openApiCheck, SPECS_MISSING } from "../fakes/openapi.ts";
import { soon, until } from "../fakes/soon.ts";
import { START, type VirtualWorld, virtualWorld } from "../virtual-world.ts";

const SIGNAL = new AbortController().signal;
const REQUEST: RestRequest = { method: "GET", path: ["things", "1"], operation: "get-thing" };
const SECRET = "canary-of-the-token";
const CALL_MS = 4_000;

type Reply = (request: IncomingMessage, response: ServerResponse, body: string) => void;

/** An HTTP server on loopback that answers every request in one way. */
async function serve(context: TestContext, reply: Reply) {
  const seen: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    seen.push(request);
    const chunks: Buffer[] = [];
    request.on("data", (chunk) => chunks.push(chunk));
    request.on("end", () => reply(request, response, Buffer.concat(chunks).toString()));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen };
}

const json =
  (status: number, body: unknown, headers = {}): Reply =>
  (_request, response) =>
    response
      .writeHead(status, { "content-type": "application/json", ...headers })
      .end(JSON.stringify(body));

function open(baseUrl: string, options: Partial<RestOptions> = {}) {
  const world: VirtualWorld = { ...virtualWorld(), fetch: globalThis.fetch };
  const headers = async () => ({ authorization: `Bearer ${SECRET}` });
  return openRest({
    baseUrl,
    credentials: { headers, forget: () => undefined },
    world,
    callMs: CALL_MS,
    failureOf: () => null,
    ...options,
  });
}

async function failure(work: Promise<unknown>): Promise<CloudError> {
  const error = await work.then(
    () => assert.fail("it did not fail"),
    (thrown: unknown) => thrown,
  );
  assert(error instanceof CloudError, inspect(error));
  const shown = inspect(error, { depth: Number.POSITIVE_INFINITY, showHidden: true });
  assert(!/canary/.test(shown), shown);
  return error;
}

test("call() sends the method, the encoded path, the query, the body and the credentials, once", async (context) => {
  let sent: unknown;
  const server = await serve(context, (request, response, body) => {
    const { method, url, headers } = request;
    const { authorization, accept, connection, "content-type": type } = headers;
    sent = { method, url, authorization, accept, connection, type, body };
    json(200, { answer: 42 })(request, response, body);
  });
  const answer = await open(`${server.url}/base/`, { mediaType: "application/x.v1+json" }).call(
    {
      method: "PUT",
      path: ["a b", "192.0.2.0/24", "100%", "?", "#"],
      query: { page: 2, kind: "a&b" },
      body: { text: "ü" },
      operation: "put-thing",
    },
    SIGNAL,
  );
  assert.deepEqual(answer, { answer: 42 });
  assert.equal(server.seen.length, 1);
  assert.deepEqual(sent, {
    method: "PUT",
    url: "/base/a%20b/192.0.2.0%2F24/100%25/%3F/%23?page=2&kind=a%26b",
    authorization: `Bearer ${SECRET}`,
    accept: "application/x.v1+json",
    connection: "close",
    type: "application/x.v1+json",
    body: '{"text":"ü"}',
  });
});

test("call() never asks for another path than the one that it was given", async (context) => {
  const server = await serve(context, json(200, {}));
  for (const part of ["", ".", ".."]) {
    const request = { ...REQUEST, path: ["things", part] };
    await assert.rejects(open(server.url).call(request, SIGNAL), { name: "AssertionError" });
  }
  assert.equal(server.seen.length, 0);
});

test("call() takes nothing for an answer but JSON from beginning to end", async (context) => {
  const type = { "content-type": "application/json" };
  const answers: readonly Reply[] = [
    (_request, response) =>
      response.writeHead(200, { "content-type": "text/html" }).end("<html>Please log in</html>"),
    (_request, response) => response.writeHead(200, { "content-type": "text/plain" }).end("{}"),
    (_request, response) => response.writeHead(200).end("{}"),
    (_request, response) => response.writeHead(200, type).end(""),
    (_request, response) => response.writeHead(200, type).end('{"rules":['),
    (_request, response) => response.writeHead(200, type).end("<html></html>"),
    (_request, response) => {
      response.writeHead(200, { ...type, "content-length": "100" });
      response.write("{}");
      setImmediate(() => response.destroy());
    },
  ];
  for (const [index, reply] of answers.entries()) {
    const server = await serve(context, reply);
    const error = await failure(open(server.url).call(REQUEST, SIGNAL));
    assert.equal(error.kind, "unavailable", String(index));
    assert.equal(server.seen.length, 1);
  }
});

test("call() gives undefined for an answer that says it has no content, and its JSON for any other", async (context) => {
  const empty = await serve(context, (_request, response) => response.writeHead(204).end());
  assert.equal(await open(empty.url).call(REQUEST, SIGNAL), undefined);
  const vendors = { "content-type": "application/vnd.atlas.2023-01-01+json;charset=utf-8" };
  for (const value of [null, [], {}, false, 0, "text"]) {
    const server = await serve(context, json(201, value, vendors));
    assert.deepEqual(await open(server.url).call(REQUEST, SIGNAL), value);
  }
});

test("call() stops reading what is larger than anything it asks for", async (context) => {
  let written = 0;
  const server = await serve(context, (_request, response) => {
    response.writeHead(200, { "content-type": "application/json" });
    const chunk = Buffer.alloc(65_536, " ");
    const more = () => {
      while (!response.destroyed && written < 64_000_000) {
        written += chunk.length;
        if (!response.write(chunk)) return;
      }
      response.end();
    };
    response.on("drain", more);
    more();
  });
  const error = await failure(open(server.url).call(REQUEST, SIGNAL));
  assert.deepEqual([error.kind, error.code], ["unavailable", "UnreadableAnswer"]);
  assert(written < 32_000_000, `${written} bytes were taken`);
});

test("call() follows no redirect, so that no other host is shown the credentials", async (context) => {
  const elsewhere = await serve(context, json(200, {}));
  for (const status of [301, 302, 303, 307, 308]) {
    const server = await serve(context, (_request, response) =>
      response.writeHead(status, { location: elsewhere.url }).end(),
    );
    const error = await failure(open(server.url).call(REQUEST, SIGNAL));
    assert.equal(error.kind, "unavailable");
  }
  assert.equal(elsewhere.seen.length, 0);
});

test("call() says how long to wait, from either header, and believes no more than five minutes", async (context) => {
  const seconds = START / 1_000;
  const waits: readonly (readonly [Record<string, string>, number | null])[] = [
    [{ "retry-after": "7" }, 7_000],
    [{ "retry-after": "86400" }, 300_000],
    [{ "retry-after": "7", "x-ratelimit-reset": String(seconds + 60) }, 7_000],
    [{ "x-ratelimit-reset": String(seconds + 42) }, 42_000],
    [{ "ratelimit-reset": String(seconds + 42) }, 42_000],
    [{ "x-ratelimit-reset": String(seconds - 42) }, 0],
    [{ "x-ratelimit-reset": String(seconds + 86_400) }, 300_000],
    [{ "x-ratelimit-reset": "soon" }, null],
    [{}, null],
  ];
  for (const [headers, expected] of waits) {
    const server = await serve(context, json(429, {}, headers));
    const error = await failure(open(server.url).call(REQUEST, SIGNAL));
    assert.deepEqual([error.kind, error.retryAfterMs], ["throttled", expected], inspect(headers));
    assert.equal(server.seen.length, 1);
  }
});

test("call() judges a refusal by the vendor's JSON, else by its status, and a stranger's page hardly at all", async (context) => {
  const failureOf: RestOptions["failureOf"] = ({ body }) =>
    JSON.stringify(body).includes("busy") ? { kind: "busy", code: "Busy" } : null;
  const kindOf = async (reply: Reply) => {
    const server = await serve(context, reply);
    const { kind, code } = await failure(open(server.url, { failureOf }).call(REQUEST, SIGNAL));
    return `${kind} ${code}`;
  };
  const html =
    (status: number): Reply =>
    (_request, response) =>
      response.writeHead(status, { "content-type": "text/html" }).end("<html>busy canary</html>");
  assert.equal(await kindOf(json(400, { reason: "busy canary" })), "busy Busy");
  const byStatus = { 400: "invalid", 401: "denied", 403: "denied", 408: "unavailable" };
  for (const [status, kind] of Object.entries({ ...byStatus, 500: "unavailable" })) {
    assert.equal(await kindOf(json(Number(status), { reason: "canary" })), `${kind} HttpError`);
  }
  const byPage = { 400: "unavailable", 404: "unavailable", 403: "denied", 429: "throttled" };
  for (const [status, kind] of Object.entries({ ...byPage, 502: "unavailable" })) {
    assert.equal(await kindOf(html(Number(status))), `${kind} HttpError`);
  }
});

test("call() names the operation, the status and the request, and repeats nothing that it was told", async (context) => {
  const headers = { "x-request-id": "0d5c-1", "x-canary": "canary" };
  const server = await serve(context, json(500, { errors: [{ reason: "canary" }] }, headers));
  const request = { ...REQUEST, path: ["canary"], query: { canary: "canary" } };
  const error = await failure(open(server.url).call(request, SIGNAL));
  assert.equal(error.message, "get-thing ended in HttpError, HTTP 500, request 0d5c-1");
});

test("call() names Node's code when nobody answers", async (context) => {
  const server = await serve(context, (request) => request.socket.destroy());
  const cut = await failure(open(server.url).call(REQUEST, SIGNAL));
  assert.equal(cut.kind, "unavailable");
  assert.match(cut.code, /^(UND_ERR_SOCKET|ECONNRESET)$/);
  const nobody = await failure(open("http://127.0.0.1:9").call(REQUEST, SIGNAL));
  assert.match(`${nobody.kind} ${nobody.code}`, /^unavailable (ECONNREFUSED|NetworkError)$/);
});

test("call() forgets the credentials that were refused with 401, and only then", async (context) => {
  let forgotten = 0;
  const headers = async () => ({});
  const credentials = {
    headers,
    forget: () => {
      forgotten += 1;
    },
  };
  for (const [status, expected] of [
    [403, 0],
    [401, 1],
    [200, 1],
  ] as const) {
    const server = await serve(context, json(status, {}));
    await open(server.url, { credentials })
      .call(REQUEST, SIGNAL)
      .catch(() => undefined);
    assert.equal(forgotten, expected, String(status));
  }
});

test("call() sends nothing without credentials", async (context) => {
  const server = await serve(context, json(200, {}));
  const headers = () =>
    Promise.reject(new CloudError("denied", "InvalidClient", { operation: "get-token" }));
  const credentials = { headers, forget: () => undefined };
  const error = await failure(open(server.url, { credentials }).call(REQUEST, SIGNAL));
  assert.deepEqual([error.kind, error.operation], ["denied", "get-token"]);
  assert.equal(server.seen.length, 0);
});

test("call() ends by itself in its time, whether nothing comes or an answer has no end", async (context) => {
  const replies: readonly Reply[] = [
    () => undefined,
    (_request, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      response.write("[");
    },
  ];
  for (const reply of replies) {
    const server = await serve(context, reply);
    const world = virtualWorld();
    const timed = { ...world, fetch: globalThis.fetch };
    const failed = failure(open(server.url, { world: timed }).call(REQUEST, SIGNAL));
    await until(() => server.seen.length > 0, "the call");
    let over = false;
    void failed.then(() => {
      over = true;
    });
    await world.advance(CALL_MS - 1);
    for (let turn = 0; turn < 20; turn += 1) await new Promise((resolve) => setImmediate(resolve));
    assert(!over, "it ended before its time");
    await world.advance(1);
    const error = await soon(failed, "the end of a call whose time is over");
    assert.deepEqual([error.kind, error.code], ["unavailable", "TimeoutError"]);
  }
});

test("call() does not begin when its signal has aborted, and ends when it aborts", async (context) => {
  const server = await serve(context, () => undefined);
  const early = await failure(open(server.url).call(REQUEST, AbortSignal.abort("canary")));
  assert.deepEqual([early.kind, early.code], ["unavailable", "AbortError"]);
  // Not even a token is asked for.
  let asked = 0;
  const headers = async () => {
    asked += 1;
    return {};
  };
  const credentials = { headers, forget: () => undefined };
  const none = await failure(open(server.url, { credentials }).call(REQUEST, AbortSignal.abort()));
  assert.deepEqual([none.code, asked], ["AbortError", 0]);
  assert.equal(server.seen.length, 0);
  const abort = new AbortController();
  const failed = failure(open(server.url).call(REQUEST, abort.signal));
  await until(() => server.seen.length > 0, "the call");
  abort.abort(new Error("canary"));
  assert.equal((await soon(failed, "the end of an aborted call")).code, "AbortError");
});

/** Pages as Linode counts them: `page`, `pages`, `results`. */
function paged(pages: readonly (readonly number[])[], totals: readonly number[]) {
  const read = async (number: number) => ({
    items: pages[number - 1] ?? [],
    total: totals[number - 1] ?? 0,
    isLast: number >= pages.length,
  });
  return readPages(read, { operation: "get-things", pagesMax: 5 });
}

test("readPages() reads one page after the other, up to the last", async () => {
  assert.deepEqual(await paged([[1, 2], [3, 4], [5]], [5, 5, 5]), [1, 2, 3, 4, 5]);
  assert.deepEqual(await paged([[]], [0]), []);
});

test("readPages() gives no half of a list that changed meanwhile, is shorter than it says, or has no end", async () => {
  const lists: readonly (readonly [readonly (readonly number[])[], readonly number[]])[] = [
    [
      [[1, 2], [4]],
      [4, 3],
    ],
    [
      [[1, 2], [3]],
      [4, 4],
    ],
    [
      [[1, 2], [3]],
      [3, 4],
    ],
    [[[]], [1]],
    [Array.from({ length: 6 }, () => [1]), [6, 6, 6, 6, 6, 6]],
  ];
  for (const [pages, totals] of lists) {
    const error = await failure(paged(pages, totals));
    assert.deepEqual([error.kind, error.code], ["unavailable", "PagesChanged"], inspect(pages));
  }
});

const RULE = {
  action: "ACCEPT",
  protocol: "TCP",
  ports: "5432",
  addresses: { ipv4: ["192.0.2.1/32"] },
  label: "ka1-0",
  description: "x",
};
interface Described {
  readonly file: string;
  readonly path: string;
  readonly body: (rule: object) => unknown;
}

const LINODE: Described = {
  file: "linode-firewall-db.json",
  path: "/v4/networking/firewalls/4711/rules",
  body: (rule: object) => ({ inbound: [rule], outbound: [], inbound_policy: "DROP" }),
};
const DIGITALOCEAN: Described = {
  file: "digitalocean-firewall-db.json",
  path: "/v2/databases/9cc10173-e9ea-4176-9dbc-a4cee4c4ff30/firewall",
  body: (rule: object) => ({ rules: [rule] }),
};

test("openApiCheck() finds what a vendor's description does not allow", {
  skip: SPECS_MISSING ?? false,
}, async () => {
  const problems = async (
    { file, path, body }: Described,
    rule: object,
    headers = { "content-type": "application/json" },
  ) => {
    const check = await openApiCheck(file);
    const url = new URL(path, "http://127.0.0.1");
    return check?.({ method: "PUT", url, headers, body: body(rule) }) ?? ["no description"];
  };
  assert.deepEqual(await problems(LINODE, RULE), []);
  assert.deepEqual(await problems(LINODE, { ruleset: 9 }), []);
  const wrong: readonly (readonly [object, RegExp])[] = [
    [{ ...RULE, label: "ka" }, /label must NOT have fewer than 3 characters/],
    [{ ...RULE, label: "k".repeat(33) }, /label must NOT have more than 32 characters/],
    [{ ...RULE, ports: 5432 }, /ports must be string/],
    [{ ...RULE, action: "ALLOW" }, /action must be equal to one of the allowed values/],
    [{ ...RULE, addresses: ["192.0.2.1/32"] }, /addresses must be object/],
    [{ ...RULE, comment: "x" }, /must NOT have additional properties/],
  ];
  for (const [rule, expected] of wrong)
    assert.match(String(await problems(LINODE, rule)), expected);
  const source = { type: "ip_addr", value: "192.0.2.1" };
  assert.deepEqual(await problems(DIGITALOCEAN, source), []);
  assert.match(
    String(await problems(DIGITALOCEAN, { type: "ip_addr" })),
    /required property 'value'/,
  );
  const plain = { "content-type": "text/plain" };
  assert.match(String(await problems(DIGITALOCEAN, source, plain)), /content type text\/plain/);
  const elsewhere = { ...DIGITALOCEAN, path: "/v2/databases" };
  assert.match(String(await problems(elsewhere, source)), /is no operation/);
});
