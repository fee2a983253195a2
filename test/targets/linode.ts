import type { TestContext } from "node:test";
import type { JsonRequest } from "../../cli/embedded/json-server.ts";
import {
  type LinodeCloud,
  type LinodeDatabase,
  type LinodeRule,
  linodeCloud,
  startEmbeddedLinode,
} from "../../cli/embedded/linode.ts";
import { type Cidr, parseCidr } from "../../lib/core/cidr.ts";
import { markerOf, markerText } from "../../lib/core/marker.ts";
import type { Revision } from "../../lib/core/observation.ts";
import type { Target } from "../../lib/targets/target.ts";
import { type VirtualWorld, virtualWorld } from "../virtual-world.ts";
import { makeTarget } from "./making.ts";

export const SIGNAL = new AbortController().signal;
export const TOKEN = "canary-of-the-token";
export const TEXT = markerText("acme", "payments-db");
export const MARKER = markerOf("acme", "payments-db");
export const FIREWALL = 4711;
export const DATABASE: LinodeDatabase = {
  engine: "mysql",
  id: 123,
  status: "active",
  allow_list: [],
};

export interface LinodeStage {
  readonly cloud: LinodeCloud;
  readonly world: VirtualWorld;
  /** With the version. */
  readonly url: string;
  /** Everything that was asked, in order. */
  readonly requests: readonly JsonRequest[];
  target(
    kind: string,
    settings: Readonly<Record<string, unknown>>,
    limit?: number,
  ): Promise<Target>;
}

/** The embedded cloud behind HTTP; `before` may come in front of a request, or answer it. */
export async function linodeStage(
  context: TestContext,
  before: (request: JsonRequest, cloud: LinodeCloud) => unknown = () => undefined,
): Promise<LinodeStage> {
  const cloud = linodeCloud({ firewalls: [FIREWALL], databases: [DATABASE] });
  const requests: JsonRequest[] = [];
  const server = await startEmbeddedLinode({
    tokens: [TOKEN],
    handle(request, signal) {
      requests.push(request);
      const body = before(request, cloud);
      return body === undefined ? cloud.handle(request, signal) : { status: 200, body };
    },
  });
  context.after(() => server.close());
  const world = { ...virtualWorld(), fetch: globalThis.fetch };
  return {
    cloud,
    world,
    url: server.url,
    requests,
    target: (kind, settings, limit) =>
      makeTarget(
        kind,
        { ...settings, endpoint: server.url },
        { env: { LINODE_TOKEN: TOKEN }, limit, context: { world } },
      ),
  };
}

/** The firewall's target of one port. */
export function firewallOf(stage: LinodeStage, port: number | string = 5432, limit?: number) {
  const permission = { protocol: "tcp", port };
  return stage.target("linode/firewall", { id: FIREWALL, permission }, limit);
}

export function accept(change: LinodeRule = {}): LinodeRule {
  return {
    action: "ACCEPT",
    protocol: "TCP",
    ports: "5432",
    addresses: { ipv4: ["203.0.113.7/32"] },
    label: "by-hand",
    ...change,
  };
}

export function cidrs(...texts: readonly string[]): readonly Cidr[] {
  return texts.map((text) => {
    const cidr = parseCidr(text);
    if (cidr === null) throw new Error(text);
    return cidr;
  });
}

export function apply(
  target: Target,
  verb: "add" | "remove",
  texts: readonly string[],
  revision: Revision = null,
): Promise<Revision> {
  const batch = { verb, cidrs: cidrs(...texts), text: TEXT, instead: [], late: [] };
  return target.apply(batch, revision, SIGNAL);
}

/** What was read, as `effect cidr text`. */
export async function observed(target: Target): Promise<readonly string[]> {
  const { entries } = await target.observe(SIGNAL);
  return entries.map(({ effect, cidr, text }) => `${effect} ${cidr} ${text}`);
}
