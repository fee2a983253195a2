/** One node of the embedded cluster. */
export interface StoryNode {
  readonly name: string;
  readonly address: string;
}

/** What happens next: each act is one event in the life of a node. */
export type Act =
  | { readonly kind: "join" | "change"; readonly node: StoryNode }
  | { readonly kind: "leave"; readonly node: StoryNode };

export interface Story {
  /** Oldest first. */
  readonly nodes: readonly StoryNode[];
  readonly turn: number;
  /** How many names were given out. */
  readonly names: number;
  /** How many addresses were given out; a name may have had several. */
  readonly addresses: number;
}

/**
 * There are 10 to 12 nodes at any time: few enough to follow, and enough for a guard that lets go
 * of three in ten at once, since no more than that leave between two resyncs.
 */
const NODES_AT_START = 11;
const ACTS = ["leave", "join", "change", "join", "leave", "change", "leave", "join"] as const;
/** The first host of 203.0.113.0/24 (TEST-NET-3, RFC 5737) that is given out. */
const HOST_FIRST = 10;
const HOSTS = 240;

export function beginStory(): Story {
  let story: Story = { nodes: [], turn: 0, names: 0, addresses: 0 };
  for (let count = 0; count < NODES_AT_START; count += 1) story = withNewNode(story);
  return story;
}

/** The next act and the state after it. Pure: every story is the same one. */
export function nextAct(before: Story): { readonly act: Act; readonly story: Story } {
  const kind = ACTS[before.turn % ACTS.length] ?? "join";
  const story = { ...before, turn: before.turn + 1 };
  const [oldest, ...younger] = story.nodes;
  if (kind === "join" || oldest === undefined) return join(story);
  if (kind === "leave") {
    return { act: { kind, node: oldest }, story: { ...story, nodes: younger } };
  }
  const chosen = story.nodes[Math.floor(story.nodes.length / 2)] ?? oldest;
  const node = { name: chosen.name, address: addressOf(story.addresses) };
  const nodes = story.nodes.map((one) => (one === chosen ? node : one));
  return { act: { kind, node }, story: { ...story, nodes, addresses: story.addresses + 1 } };
}

function join(before: Story): { readonly act: Act; readonly story: Story } {
  const story = withNewNode(before);
  const node = story.nodes.at(-1) ?? { name: "", address: "" };
  return { act: { kind: "join", node }, story };
}

function withNewNode(story: Story): Story {
  const name = `node-${String(story.names + 1).padStart(2, "0")}`;
  const node = { name, address: addressOf(story.addresses) };
  const counts = { names: story.names + 1, addresses: story.addresses + 1 };
  return { ...story, ...counts, nodes: [...story.nodes, node] };
}

function addressOf(count: number): string {
  return `203.0.113.${HOST_FIRST + (count % HOSTS)}`;
}
