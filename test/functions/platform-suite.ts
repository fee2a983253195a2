import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { renderDelivery } from "../../lib/wire/protocol.ts";
import { node, snapshot } from "../core/cases.ts";
import { CARRIERS, type Carrier, fixture, SCHEDULES, type WireRequest } from "./carriers.ts";
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
    test("no key and no token is written to a log", () => {
      const output = Object.values(running.functions).map((one) => one.output());
      const keys = [ENVIRONMENT_KEYS, FIRST_KEYS, SECOND_KEYS];
      const own = keys.flatMap((one) => [one.accessKeySecret, one.securityToken ?? []].flat());
      for (const secret of [...Object.values(SECRETS), ...own]) {
        assert(!output.join("").includes(secret), secret);
      }
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
}

function nodes(sender: Sender, count: number): WireRequest {
  const { now, sequence } = sender;
  const all = Array.from({ length: count }, (_, index) =>
    node(`n${index}`, [`203.0.113.${index + 1}`]),
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
