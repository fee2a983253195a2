import { parseConfig } from "../lib/config.ts";
import { type Cidr, parseAddress } from "../lib/core/cidr.ts";
import type { World } from "../lib/world.ts";
import { type EmbeddedKubernetes, startEmbeddedKubernetes } from "./embedded/kubernetes.ts";
import { checkExhibit, type Departure } from "./exhibit-check.ts";
import { type Exhibits, openExhibits } from "./exhibits.ts";
import { ownKeys, randomKey, type Stage } from "./stage.ts";
import { beginStory, nextAct, type Story, type StoryNode } from "./story.ts";

/** A stage that can be looked into, and interfered with. */
export interface Demonstration extends Stage {
  readonly exhibits: Exhibits;
}

const INSTALLATION = "demo";
const CLUSTER = "demo";
const LIST = "payments-db";
const POOL = "payments";
const GRACE_S = 10;
/** After the nodes that are there at the start. */
const FIRST_ACT_MS = 2_000;
/** The second one, ten seconds later, removes what left first: late enough for that to be due. */
const FIRST_RESYNC_MS = 7_000;
const ACT_MS_MIN = 2_000;
const ACT_MS_SPREAD = 500;
/**
 * A resync passes by a target that a delivery is at work on, so an address may stay for some of
 * them.
 */
const RESYNCS_MISSED_MAX = 4;
const LATE_MS_MAX = 10_000;

/** What is played: the cluster, and who left it when. */
interface Play {
  readonly kubernetes: EmbeddedKubernetes;
  readonly exhibits: Exhibits;
  readonly departed: Map<Cidr, Departure>;
  readonly world: World;
}

/** A stage that needs nothing: a cluster and three kinds of targets in this process. */
export async function openDemonstration(world: World): Promise<Demonstration> {
  const owner = { installation: INSTALLATION, list: LIST, formerly: [] };
  const exhibits = await openExhibits(owner);
  const others = new Map(exhibits.all.map((exhibit) => [exhibit, exhibit.others()]));
  const kubernetes = await startEmbeddedKubernetes({ world });
  const play: Play = { kubernetes, exhibits, departed: new Map(), world };
  const story = beginStory();
  for (const node of story.nodes) putNode(kubernetes, node);
  const following = {
    cluster: CLUSTER,
    kubeConfig: { kind: "text", text: kubernetes.kubeconfig },
    key: randomKey(),
  } as const;
  return {
    config: configOf(exhibits),
    folder: "/",
    env: Object.assign({}, ...exhibits.all.map(({ env }) => env)),
    following,
    keys: [ownKeys(following)],
    firstResyncMs: FIRST_RESYNC_MS,
    embedded: {
      places: exhibits.all.map(({ name, url }) => ({ target: name, url })),
      play: (signal) => act(play, story, signal),
      isHome: () => isHome(play),
      check({ resyncMs }) {
        const graceMs = GRACE_S * 1_000;
        const expected = {
          wanted: addressesOf(kubernetes),
          departed: play.departed,
          now: world.now(),
          graceMs,
          staysMsMax: graceMs + RESYNCS_MISSED_MAX * resyncMs + LATE_MS_MAX,
        };
        const findings = exhibits.all.map((exhibit) =>
          checkExhibit(exhibit, { ...expected, others: others.get(exhibit) ?? "" }),
        );
        return { isGood: findings.every(({ isGood }) => isGood), findings };
      },
    },
    exhibits,
    async close() {
      await Promise.all([...exhibits.all, kubernetes].map((one) => one.close()));
    },
  };
}

async function act(play: Play, beginning: Story, signal: AbortSignal): Promise<void> {
  const { kubernetes, world } = play;
  let story = beginning;
  let waitMs = FIRST_ACT_MS;
  for (;;) {
    await world.sleep(waitMs, signal).catch(() => undefined);
    if (signal.aborted) return;
    const next = nextAct(story);
    story = next.story;
    noteDepartures(play, () => {
      if (next.act.kind === "leave") kubernetes.nodes.remove(next.act.node.name);
      else putNode(kubernetes, next.act.node);
    });
    waitMs = ACT_MS_MIN + Math.floor(world.random() * ACT_MS_SPREAD);
  }
}

/** Writes down which addresses nobody has any more, since when, and who held them. */
function noteDepartures({ kubernetes, exhibits, departed, world }: Play, change: () => void): void {
  const before = addressesOf(kubernetes);
  const holders = exhibits.all.map(({ name, own }) => ({ name, own: new Set(own()) }));
  const at = world.now();
  change();
  const after = addressesOf(kubernetes);
  for (const cidr of before) {
    if (after.has(cidr)) continue;
    const heldBy = holders.filter(({ own }) => own.has(cidr)).map(({ name }) => name);
    departed.set(cidr, { at, heldBy: new Set(heldBy) });
  }
  for (const cidr of after) departed.delete(cidr);
}

function putNode({ nodes }: EmbeddedKubernetes, { name, address }: StoryNode): void {
  const addresses = [{ type: "ExternalIP", address }];
  nodes.put(name, { addresses, labels: { pool: POOL } });
}

function configOf({ all }: Exhibits): Stage["config"] {
  const reading = parseConfig({
    version: 1,
    installation: INSTALLATION,
    store: { kind: "memory" },
    clusters: {
      [CLUSTER]: {
        // Never resolved: the forwarder of this process signs with a key of its own.
        auth: { signature: { keys: ["env:NONE"] } },
        bounds: ["203.0.113.0/24"],
      },
    },
    lists: {
      [LIST]: {
        from: [{ cluster: CLUSTER, nodes: { pool: POOL }, addresses: ["ExternalIP"] }],
        // So many of so few leave that those of two resyncs may be half of all. A machine that
        // slept wakes up with more.
        removal: { policy: "sync", grace: `${GRACE_S}s`, maxRatio: 0.5, acceptAfter: "1m" },
        targets: all.map(({ target }) => target),
      },
    },
  });
  if (reading.kind === "parsed") return reading.config;
  throw new Error(`Cannot read the embedded configuration: ${JSON.stringify(reading.problems)}`);
}

function isHome({ kubernetes, exhibits }: Play): boolean {
  const wanted = [...addressesOf(kubernetes)];
  return exhibits.all.every((exhibit) => {
    const own = new Set(exhibit.own());
    return wanted.every((cidr) => own.has(cidr));
  });
}

function addressesOf({ store }: EmbeddedKubernetes): ReadonlySet<Cidr> {
  const cidrs = store.list("nodes", store.revision()).flatMap((node) => {
    const { addresses } = node.status as { addresses: readonly { address: string }[] };
    return addresses.flatMap(({ address }) => parseAddress(address) ?? []);
  });
  return new Set(cidrs);
}
