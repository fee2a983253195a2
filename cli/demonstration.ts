import { parseConfig } from "../lib/config.ts";
import { parseAddress } from "../lib/core/cidr.ts";
import { ownership } from "../lib/core/marker.ts";
import type { ListReport } from "../lib/core/report.ts";
import type { World } from "../lib/world.ts";
import { type EmbeddedEc2, startEmbeddedEc2 } from "./embedded/ec2.ts";
import { type Ec2Groups, ec2Groups } from "./embedded/ec2-groups.ts";
import { type EmbeddedKubernetes, startEmbeddedKubernetes } from "./embedded/kubernetes.ts";
import { countText } from "./report-text.ts";
import { type Check, ownKeys, randomKey, type Stage } from "./stage.ts";
import { beginStory, nextAct, type Story, type StoryNode } from "./story.ts";

const INSTALLATION = "demo";
const CLUSTER = "demo";
const LIST = "payments-db";
const POOL = "payments";
const GROUP = "sg-0a1b2c3d4e5f60718";
const PORT = 5432;
/**
 * Somebody's own rule, for which we are never responsible (198.51.100.0/24 is TEST-NET-2, RFC
 * 5737).
 */
const HAND_MADE = { cidr: "198.51.100.7/32", description: "office, by hand" };
/**
 * After the nodes that are there at the start, and early enough for the first removal within 20 s.
 */
const FIRST_ACT_MS = 2_000;
const FIRST_RESYNC_MS = 5_000;
const ACT_MS_MIN = 2_000;
const ACT_MS_SPREAD = 500;

/** A stage that needs nothing: a cluster, an EC2 endpoint and a security group in this process. */
export async function openDemonstration(world: World): Promise<Stage> {
  const groups = ec2Groups([GROUP]);
  groups.set(GROUP, [handMadeRule()]);
  const ec2 = await startEmbeddedEc2({ groups });
  const kubernetes = await startEmbeddedKubernetes({ world });
  const story = beginStory();
  for (const node of story.nodes) putNode(kubernetes, node);
  const following = {
    cluster: CLUSTER,
    kubeConfig: { kind: "text", text: kubernetes.kubeconfig },
    key: randomKey(),
  } as const;
  return {
    config: configOf(ec2),
    folder: "/",
    // The endpoint believes any credentials; the user's own must not go to it.
    env: { AWS_ACCESS_KEY_ID: "embedded", AWS_SECRET_ACCESS_KEY: "embedded" },
    following,
    keys: [ownKeys(following)],
    firstResyncMs: FIRST_RESYNC_MS,
    embedded: {
      play: (signal) => play(kubernetes, story, { world, signal }),
      isHome: () => missingOf(groups, kubernetes).length === 0,
      check: (lists) => checkGroup(groups, kubernetes, lists),
    },
    async close() {
      await Promise.all([ec2.close(), kubernetes.close()]);
    },
  };
}

async function play(
  kubernetes: EmbeddedKubernetes,
  beginning: Story,
  { world, signal }: { readonly world: World; readonly signal: AbortSignal },
): Promise<void> {
  let story = beginning;
  let waitMs = FIRST_ACT_MS;
  for (;;) {
    await world.sleep(waitMs, signal).catch(() => undefined);
    if (signal.aborted) return;
    const next = nextAct(story);
    story = next.story;
    const { act } = next;
    if (act.kind === "leave") kubernetes.nodes.remove(act.node.name);
    else putNode(kubernetes, act.node);
    waitMs = ACT_MS_MIN + Math.floor(world.random() * ACT_MS_SPREAD);
  }
}

function handMadeRule() {
  const { cidr, description } = HAND_MADE;
  const ports = { protocol: "tcp", fromPort: PORT, toPort: PORT };
  return { egress: false, ...ports, source: { kind: "ipv4", text: cidr }, description } as const;
}

function putNode({ nodes }: EmbeddedKubernetes, { name, address }: StoryNode): void {
  const addresses = [{ type: "ExternalIP", address }];
  nodes.put(name, { addresses, labels: { pool: POOL } });
}

function configOf(ec2: EmbeddedEc2<Ec2Groups>): Stage["config"] {
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
        // A machine that slept wakes up with more removals than the guard lets go at once.
        removal: { policy: "sync", grace: "10s", acceptAfter: "1m" },
        targets: [
          {
            kind: "aws/security-group",
            region: "eu-west-1",
            id: GROUP,
            permission: { protocol: "tcp", port: PORT },
            endpoint: ec2.url,
          },
        ],
      },
    },
  });
  if (reading.kind === "parsed") return reading.config;
  throw new Error(`Cannot read the embedded configuration: ${JSON.stringify(reading.problems)}`);
}

/** Rules of the group, by whose they are. */
function rulesOf(groups: Ec2Groups) {
  const rules = groups.rules(GROUP).filter(({ egress }) => !egress);
  const whose = ownership({ installation: INSTALLATION, list: LIST, formerly: [] });
  return {
    own: new Set(
      rules
        .filter(({ description }) => whose(description) === "owned")
        .map(({ source }) => source.text),
    ),
    others: rules.filter(({ description }) => whose(description) !== "owned"),
  };
}

function missingOf(groups: Ec2Groups, kubernetes: EmbeddedKubernetes): readonly string[] {
  const { own } = rulesOf(groups);
  return addressesOf(kubernetes).filter((cidr) => !own.has(cidr));
}

/** The security group as it is, against the nodes of the cluster as they are. */
function checkGroup(
  groups: Ec2Groups,
  kubernetes: EmbeddedKubernetes,
  lists: readonly ListReport[],
): Check {
  const { own, others } = rulesOf(groups);
  const wanted = new Set<string>(addressesOf(kubernetes));
  const inGrace = new Set(
    lists.flatMap(({ leaving, remove }) => [...leaving.map(({ cidr }) => cidr), ...remove]),
  );
  const missing = missingOf(groups, kubernetes);
  const extra = [...own].filter((cidr) => !wanted.has(cidr) && !inGrace.has(cidr));
  const [rule] = others;
  const isUntouched =
    others.length === 1 &&
    rule?.source.text === HAND_MADE.cidr &&
    rule.description === HAND_MADE.description;
  const faults = [
    ...(missing.length > 0 ? [`${missing.join(", ")} missing`] : []),
    ...(extra.length > 0 ? [`${extra.join(", ")} neither wanted nor in grace`] : []),
    ...(isUntouched ? [] : ["the rule that somebody made by hand is not as it was"]),
  ];
  if (faults.length > 0) {
    const title = `The security group ${GROUP} is not what the cluster says`;
    return { isGood: false, sentence: `${title}: ${faults.join("; ")}` };
  }
  const leaving = countText(own.size - wanted.size, "address", "addresses");
  const sentence =
    `the security group ${GROUP} holds the ${countText(wanted.size, "node")} of the cluster, ` +
    `${leaving} in grace, and the rule that somebody made by hand, untouched`;
  return { isGood: true, sentence };
}

function addressesOf({ store }: EmbeddedKubernetes): readonly string[] {
  return store.list("nodes", store.revision()).flatMap((node) => {
    const { addresses } = node.status as { addresses: readonly { address: string }[] };
    return addresses.flatMap(({ address }) => parseAddress(address) ?? []);
  });
}
