import assert from "node:assert/strict";
import type { JsonAnswer } from "../../cli/embedded/json-server.ts";
import type { Target } from "../../lib/targets/target.ts";
import { checkedFetch, openApiCheck } from "../fakes/openapi.ts";
import { type FaultyRest, faultyRest, type RestBackend } from "../fakes/rest.ts";
import { makeTarget } from "../targets/making.ts";
import { virtualWorld } from "../virtual-world.ts";
import type { Stage, Verb } from "./target.ts";

/** Quoted in every refusal, where a careless client would repeat it. */
export const QUOTED = "canary-in-the-answer";

/** What a vendor's stage says of itself; the rest is the same for all of them. */
export interface RestScene {
  readonly kind: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly env: Readonly<Record<string, string>>;
  readonly limit: number | undefined;
  /** File of the vendor's description. */
  readonly spec: string;
  readonly backend: RestBackend;
  /** Listens; the endpoint is what the settings take. */
  serve(faulty: FaultyRest): Promise<{ readonly url: string; close(): Promise<void> }>;
  readonly hands: Pick<Stage, "shown" | "lines" | "put" | "drop" | "surround">;
  readonly removesOneByOne?: boolean;
}

/** The target as the product makes it, over HTTP, with every request judged as it leaves. */
export async function restStage(scene: RestScene): Promise<Stage> {
  const faulty = faultyRest(scene.backend);
  const server = await scene.serve(faulty);
  const { fetch, problems } = checkedFetch(await openApiCheck(scene.spec));
  const made = await makeTarget(
    scene.kind,
    { ...scene.settings, endpoint: server.url },
    { env: scene.env, limit: scene.limit, context: { world: { ...virtualWorld(), fetch } } },
  );
  let halving: "add" | "remove" | null = null;
  const target: Target = {
    ...made,
    apply(batch, revision, signal) {
      faulty.expect(batch.verb);
      if (halving === batch.verb) {
        const half = Math.ceil(batch.cidrs.length / 2);
        faulty.inject(batch.verb, ...Array.from({ length: half }, () => "none" as const), "fail");
        halving = null;
      }
      return made.apply(batch, revision, signal);
    },
  };
  return {
    ...scene.hands,
    target,
    secrets: [...Object.values(scene.env), QUOTED],
    inject(verb: Verb, fault) {
      if (fault === "half" && verb === "remove" && scene.removesOneByOne) halving = verb;
      else faulty.inject(verb, fault);
    },
    calls: faulty.calls,
    readsBefore: { add: 1, remove: 1 },
    removesOneByOne: scene.removesOneByOne ?? false,
    async close() {
      await server.close();
      assert.deepEqual(problems, [], "the vendor's description does not allow it");
    },
  };
}

export const SKIPS = {
  whole: "a write replaces the whole list or nothing",
  pages: "the whole list is one answer, there are no pages",
  capacity: "how much it takes is published, so the room is always known",
  unversioned:
    "the API has no version: what lands between a read and a write is replaced, and nothing tells",
} as const;

export function refusals(bodyOf: (status: number) => unknown, busy: JsonAnswer) {
  const of = (status: number, headers = {}) => ({ status, body: bodyOf(status), headers });
  return {
    throttle: of(429, { "retry-after": "7" }),
    deny: of(403),
    fail: of(500),
    busy,
  };
}
