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
/**
 * Of those that leave most are young, so that the others stay long enough to be ready where that
 * takes a minute.
 */
const TURNS = [
  "oldest leaves",
  "one joins",
  "one changes",
  "one joins",
  "one changes",
  "young one leaves",
  "one joins",
  "young one leaves",
] as const;
/** How many nodes are younger than the one that changes. */
const YOUNGER = 2;
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
  const turn = TURNS[before.turn % TURNS.length] ?? "one joins";
  const story = { ...before, turn: before.turn + 1 };
  const { nodes } = story;
  switch (turn) {
    case "one joins":
      return join(story);
    case "oldest leaves":
      return leave(story, nodes[0]);
    case "young one leaves":
      return leave(story, nodes.at(-2));
    case "one changes":
      return change(story, nodes.at(-1 - YOUNGER));
    default:
      throw new Error(`Unreachable: ${JSON.stringify(turn satisfies never)}`);
  }
}

type Turned = ReturnType<typeof nextAct>;

function leave(story: Story, node: StoryNode | undefined): Turned {
  if (node === undefined) return join(story);
  const nodes = story.nodes.filter((one) => one !== node);
  return { act: { kind: "leave", node }, story: { ...story, nodes } };
}

function change(story: Story, chosen: StoryNode | undefined): Turned {
  if (chosen === undefined) return join(story);
  const node = { name: chosen.name, address: addressOf(story.addresses) };
  const nodes = story.nodes.map((one) => (one === chosen ? node : one));
  return {
    act: { kind: "change", node },
    story: { ...story, nodes, addresses: story.addresses + 1 },
  };
}

function join(before: Story): Turned {
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
