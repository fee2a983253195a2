import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { renderDelivery } from "../../lib/wire/protocol.ts";
import { node, snapshot } from "../core/cases.ts";
import { CARRIERS, type Carrier, fixture, SCHEDULES, type WireRequest } from "./carriers.ts";
import { embeddedOf } from "./embedded.ts";
import {
  DAMAGED,
  OTHER_BYTES,
  OTHER_EVENTS,
  REQUESTS,
  type Sender,
  signedRequest,
} from "./event-cases.ts";
import { type PlatformProcess, responseOf, startFunction } from "./platform-process.ts";
import {
  ENVIRONMENT_KEYS,
  FIRST_KEYS,
  type Keys,
  type PlatformStage,
  platformStage,
  SECRETS,
} from "./platform-stage.ts";

/*
 * What every platform does to the functions, whatever they were made of: the sources on this Node,
 * the bundles on any.
 */

/** Where to find a function, and on which Node to run it; null skips, with the reason. */
export interface Subject {
  readonly title: string;
  readonly node: string;
  /** Makes the functions' files out of the stage's configuration. */
  prepare(stage: PlatformStage): void;
  fileOf(stage: PlatformStage, name: FunctionName): string;
  configOf(stage: PlatformStage, name: FunctionName): string;
}

type FunctionName = "read" | "resync" | "webhook";

const LAMBDA_MS = 29_000;
const SECOND_KEYS: Keys = {
  accessKeyId: "STS.NUexample2",
  accessKeySecret: "example-secret-2",
  securityToken: "example-token-2",
};
const NO_KEYS: Keys = { accessKeyId: "", accessKeySecret: "", securityToken: "" };
const TEST_MS = 60_000;
const CANARY = "canary-in-a-strange-place";

interface Running {
  readonly stage: PlatformStage;
  readonly functions: Readonly<Record<FunctionName, PlatformProcess>>;
  next(): Sender;
  stop(): Promise<void>;
}

async function start(subject: Subject): Promise<Running> {
  const stage = await platformStage();
  const functions: PlatformProcess[] = [];
  const begin = async (name: FunctionName) => {
    const begun = await startFunction(subject.fileOf(stage, name), {
      node: subject.node,
      folder: stage.folder,
      // Nothing of a developer's settings.
      env: {
        ...SECRETS,
        UNUSED_SECRET: CANARY,
        // Also what is said for developers only must not tell any of this.
        KUBE_ALLOWLIST_LOG_LEVEL: "debug",
        KUBE_ALLOWLIST_CONFIG: subject.configOf(stage, name),
        ALIBABA_CLOUD_ACCESS_KEY_ID: ENVIRONMENT_KEYS.accessKeyId,
        ALIBABA_CLOUD_ACCESS_KEY_SECRET: ENVIRONMENT_KEYS.accessKeySecret,
      },
    });
    functions.push(begun);
    return begun;
  };
  const stop = async () => {
    await Promise.all(functions.map((one) => one.stop()));
    await stage.close();
  };
  try {
    subject.prepare(stage);
    const [webhook, resync, read] = [
      await begin("webhook"),
      await begin("resync"),
      await begin("read"),
    ];
    let sequence = 0;
    const next = () => {
      sequence += 1;
      return { key: stage.signingKey, now: Date.now(), sequence };
    };
    return { stage, functions: { webhook, resync, read }, next, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A role's come with each event on Function Compute; elsewhere they are the environment's. */
function keysOn({ asBytes }: Carrier): Keys {
  return asBytes ? FIRST_KEYS : ENVIRONMENT_KEYS;
}

function ask(process: PlatformProcess, carrier: Carrier, event: unknown) {
  return process.invoke({
    event: carrier.asBytes ? Buffer.from(JSON.stringify(event)) : event,
    context: carrier.context,
    ...(carrier.asBytes ? {} : { remainingMs: LAMBDA_MS }),
  });
}

/** Every platform's events, handed to the three functions one after the other. */
export function platformSuite(subject: Subject): void {
  describe(subject.title, () => {
    let running: Running;
    let begun: Running | null = null;
    before(async () => {
      begun = await start(subject);
      running = begun;
    });
    after(() => begun?.stop());

    test("keys of Function Compute are used as long as their run, and no longer", async () => {
      await changingKeys(running);
    });

    for (const carrier of CARRIERS) {
      test(`webhook answers every request on ${carrier.name}`, { timeout: TEST_MS }, async () => {
        const { stage, functions, next } = running;
        stage.believe(keysOn(carrier));
        for (const { name, request, mangle, status } of [...REQUESTS, ...DAMAGED]) {
          const expected = typeof status === "number" ? status : status(carrier);
          const event = carrier.eventOf(request(next()));
          const objects = stage.objects();
          const response = responseOf(
            await ask(functions.webhook, carrier, mangle?.(event) ?? event),
          );
          assert.equal(response.statusCode, expected, `${name}: ${response.body}`);
          const isWritten = stage.objects().length > objects.length;
          assert.equal(isWritten, expected === 200, `${name}: written exactly where it is 200`);
        }
      });
    }

    test("webhook answers 400 to what is no request, and resync runs for it", async () => {
      await otherEvents(running);
    });
    test("status and feed are read on every platform", async () => {
      await reading(running);
    });
    test("every write has one audit line, under the delivery's id and the run's", async () => {
      await writesTold(running);
    });
    test("every line is one that CloudWatch and people can read", async () => {
      await linesTold(running);
    });
    test("no key, token or signature is written to a log, wherever it was put", async () => {
      const output = Object.values(running.functions)
        .map((one) => one.output())
        .join("");
      const keys = [ENVIRONMENT_KEYS, FIRST_KEYS, SECOND_KEYS];
      const own = keys.flatMap((one) => [one.accessKeySecret, one.securityToken ?? []].flat());
      for (const secret of [...Object.values(SECRETS), ...own]) {
        assert(!output.includes(secret), secret);
      }
      assert(!/v1,[A-Za-z0-9+/]{20}/.test(output), "a signature");
      await canaries(running);
    });
  });
}

async function otherEvents({ stage, functions }: Running): Promise<void> {
  const events = [...SCHEDULES.map(fixture), ...OTHER_EVENTS, ...OTHER_BYTES];
  stage.believe(ENVIRONMENT_KEYS);
  const objects = stage.objects();
  for (const event of events) {
    const answer = await functions.webhook.invoke({ event, context: {} });
    assert.equal(responseOf(answer).statusCode, 400, JSON.stringify(event));
  }
  assert.deepEqual(stage.objects(), objects);
  for (const event of events) {
    const { lists } = (await functions.resync.invoke({ event, context: {} })) as {
      readonly lists: readonly unknown[];
    };
    assert.equal(lists.length, 2, JSON.stringify(event));
  }
  for (const carrier of CARRIERS) {
    const request = { method: "POST", path: "/", headers: [], body: Buffer.alloc(0) };
    const answer = await ask(functions.resync, carrier, carrier.eventOf(request));
    assert.equal(responseOf(answer).statusCode, 403, carrier.name);
  }
}

/** As one instance sees it whose role's session is renewed between two events. */
async function changingKeys({ stage, functions, next }: Running): Promise<void> {
  const carrier = CARRIERS.find(({ name }) => name === "fc-http");
  assert(carrier !== undefined);
  const context = (keys: Keys) => ({ ...fixture("fc-context"), credentials: keys });
  const deliver = async (keys: Keys, count: number) => {
    const event = Buffer.from(JSON.stringify(carrier.eventOf(nodes(next(), count))));
    return responseOf(await functions.webhook.invoke({ event, context: context(keys) })).statusCode;
  };
  const addresses = (count: number) =>
    Array.from({ length: count }, (_, index) => `203.0.113.${index + 1}`);
  stage.believe(FIRST_KEYS);
  assert.equal(await deliver(FIRST_KEYS, 3), 200);
  assert.deepEqual(stage.allowed(), addresses(3));
  stage.believe(SECOND_KEYS);
  assert.equal(await deliver(SECOND_KEYS, 4), 200);
  assert.deepEqual(stage.allowed(), addresses(4), "the second session's keys were used");
  const objects = stage.objects();
  assert.equal(await deliver(NO_KEYS, 5), 503, "the second session's keys are not used any more");
  assert.equal(await deliver(FIRST_KEYS, 5), 503, "nor are they used for another session");
  assert.deepEqual(stage.objects(), objects);
  stage.believe(ENVIRONMENT_KEYS);
  assert.equal(await deliver(NO_KEYS, 5), 200, "a function without a role asks its environment");
  const { accessKeyId, accessKeySecret } = FIRST_KEYS;
  const half = { accessKeyId, accessKeySecret };
  assert.equal(await deliver(half, 5), 200, "keys of a session without its token are none");
}

type Line = Readonly<Record<string, unknown>>;

/** The lines that a function writes while `work` runs. Whatever is no JSON fails. */
async function linesOf(process: PlatformProcess, work: () => Promise<unknown>) {
  const before = process.lines().length;
  await work();
  // The pipe is read by another process than wrote it.
  await new Promise((resolve) => setTimeout(resolve, 20));
  return process
    .lines()
    .slice(before)
    .map((line): Line => JSON.parse(line));
}

/** By the names that Powertools gives them. */
function namesOf(carrier: Carrier) {
  const { awsRequestId, requestId } = carrier.context as Readonly<Record<string, unknown>>;
  return {
    service: "kube-allowlist",
    cold_start: false,
    function_name: "kube-allowlist-webhook",
    function_request_id: awsRequestId ?? requestId,
  };
}

function pick(line: Line, names: readonly string[]): Line {
  return Object.fromEntries(names.map((name) => [name, line[name]]));
}

async function writesTold({ stage, functions, next }: Running): Promise<void> {
  // Those that were there and went would be doubted for a minute; these are new.
  const last = 100;
  let count = 2;
  for (const carrier of CARRIERS) {
    stage.believe(keysOn(carrier));
    count += 1;
    const sender = next();
    const event = carrier.eventOf(nodes(sender, count, last));
    const told = await linesOf(functions.webhook, () => ask(functions.webhook, carrier, event));
    const id = `eu/1/${sender.sequence}`;
    const audits = told.filter(({ audit }) => audit === true);
    assert.deepEqual(audits.map(({ target }) => String(target).split("/")[0]).toSorted(), [
      "alibaba",
      "feed",
    ]);
    for (const line of audits) {
      const { timestamp, target, ...rest } = line;
      assert.equal(new Date(String(timestamp)).toISOString(), timestamp);
      assert.equal(typeof target, "string");
      assert.deepEqual(rest, {
        level: "INFO",
        message: "Changed a target",
        ...namesOf(carrier),
        correlation_id: id,
        cluster: "eu",
        admission: "newer",
        audit: true,
        delivery: id,
        generation: { epoch: 1, sequence: sender.sequence },
        list: "db",
        action: "add",
        entries: [`203.0.113.${last + count}/32`],
        result: "done",
      });
    }
    const [numbers, ...more] = told.filter(({ _aws }) => _aws !== undefined);
    assert(numbers !== undefined && more.length === 0);
    const { values } = embeddedOf(numbers);
    assert.deepEqual([values.DeliveriesNewer, values.Nodes, values.EntriesAdded], [1, count, 2]);
    assert.equal(numbers.correlation_id, id);
    assert.deepEqual(pick(numbers, Object.keys(namesOf(carrier))), namesOf(carrier));
  }
  assert(stage.allowed().includes(`203.0.113.${last + count}`));
}

async function linesTold({ stage, functions }: Running): Promise<void> {
  for (const carrier of CARRIERS) {
    stage.believe(keysOn(carrier));
    const event = { id: "1" };
    const told = await linesOf(functions.resync, () => ask(functions.resync, carrier, event));
    const [numbers, ...more] = told.filter(({ _aws }) => _aws !== undefined);
    assert(numbers !== undefined && more.length === 0, carrier.name);
    const { values, dimensions } = embeddedOf(numbers);
    const states = ["Converged", "Pending", "Withheld", "Failed"];
    const lists = states.map((state) => values[`Lists${state}`] ?? Number.NaN);
    assert.equal(
      lists.reduce((sum, count) => sum + count),
      2,
    );
    assert.deepEqual([values.ClustersHeard, values.ClustersStale], [1, 0]);
    assert.deepEqual(dimensions.ClustersStale, { Installation: "acme" });
    for (const line of told) {
      assert.deepEqual(pick(line, Object.keys(namesOf(carrier))), namesOf(carrier));
    }
  }
  for (const [name, one] of Object.entries(functions)) {
    const lines = one.lines();
    for (const text of lines) {
      const line = JSON.parse(text);
      assert.equal(new Date(line.timestamp).toISOString(), line.timestamp);
      assert.equal(typeof line.message, "string");
      assert.equal(typeof line.cold_start, "boolean");
      if (line._aws === undefined) assert.match(line.level, /^(DEBUG|INFO|WARN|ERROR)$/);
      else embeddedOf(line);
    }
    // Nothing is said of what was read well, so its first line may be of a later run.
    if (name !== "read") assert.equal(JSON.parse(lines[0] ?? "").cold_start, true);
    assert.equal(JSON.parse(lines.at(-1) ?? "").cold_start, false);
  }
}

/** What strangers and the badly configured send: each of it holds what must not be told. */
function canaryRequests(sender: Sender): readonly WireRequest[] {
  const long = `whsec_${Buffer.from(CANARY.repeat(3)).toString("base64")}`;
  const headers = [
    ["authorization", `Bearer ${CANARY}`],
    ["cookie", `session=${CANARY}`],
    ["webhook-id", CANARY],
    ["webhook-signature", `v1,${CANARY}`],
    ["webhook-timestamp", CANARY],
    ["content-type", `application/cloudevents+json; charset=${CANARY}`],
    ["content-encoding", CANARY],
    ["x-api-key", long],
  ] as const;
  const [first] = [nodes(sender, 1)];
  const signed = signedRequest(sender, Buffer.from(JSON.stringify({ data: { a: long } })));
  return [
    ...headers.map((header) => ({
      ...first,
      headers: [...first.headers.filter(([name]) => name.toLowerCase() !== header[0]), header],
    })),
    { ...first, headers: [...headers] },
    signed,
    { ...first, path: `/v1/snapshots/${CANARY}` },
    { ...first, method: "GET", path: `/v1/lists/${CANARY}.txt` },
    { ...first, method: "GET", path: `/v1/lists/db.${CANARY}` },
    { ...first, method: CANARY, path: "/v1/status" },
    { ...first, body: Buffer.from(long) },
  ];
}

async function canaries({ stage, functions, next }: Running): Promise<void> {
  for (const carrier of CARRIERS) {
    stage.believe(keysOn(carrier));
    for (const request of canaryRequests(next())) {
      const event = { ...carrier.eventOf(request), rawQueryString: `token=${CANARY}` };
      for (const process of Object.values(functions)) {
        await ask(process, carrier, event);
        await ask(process, carrier, { ...event, requestContext: { authorizer: CANARY } });
      }
    }
  }
  for (const [name, one] of Object.entries(functions)) {
    const output = one.output().toLowerCase();
    const hidden = Buffer.from(CANARY).toString("base64").slice(0, 20).toLowerCase();
    const found = output.split("\n").find((line) => line.includes(CANARY) || line.includes(hidden));
    assert.equal(found, undefined, name);
  }
}

/** Two nodes, and then those from behind `last` on. */
function nodes(sender: Sender, count: number, last = 0): WireRequest {
  const { now, sequence } = sender;
  const all = Array.from({ length: count }, (_, index) =>
    node(`n${index}`, [`203.0.113.${index < 2 ? index + 1 : last + index + 1}`]),
  );
  const generation = { epoch: 1, sequence };
  const times = { receivedAt: now, time: now, observedAt: now };
  const sent = snapshot(all, { ...times, generation });
  return signedRequest(sender, Buffer.from(renderDelivery(sent)));
}

async function reading({ stage, functions }: Running): Promise<void> {
  const headers = [["authorization", `Bearer ${SECRETS.STATUS_TOKEN}`]] as const;
  for (const carrier of CARRIERS) {
    stage.believe(keysOn(carrier));
    const get = async (path: string) => {
      const event = carrier.eventOf({ method: "GET", path, headers, body: Buffer.alloc(0) });
      return responseOf(await ask(functions.read, carrier, event));
    };
    const status = await get("/v1/status");
    assert.equal(status.statusCode, 200, status.body);
    assert.equal(JSON.parse(status.body).lists.length, 2);
    const feed = await get("/v1/lists/db.txt");
    assert.equal(feed.statusCode, 200, feed.body);
    assert.match(feed.body, /^203\.0\.113\.1\/32$/m);
    assert.equal((await get("/v1/lists/other.txt")).statusCode, 401);
  }
}

/** The sources of this repository, which need no packaging. */
export function sourceFile(name: FunctionName): string {
  return join(import.meta.dirname, "../../functions", `${name}.ts`);
}
