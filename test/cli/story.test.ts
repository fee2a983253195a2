import assert from "node:assert/strict";
import { test } from "node:test";
import { type Act, beginStory, nextAct } from "../../cli/story.ts";

const ACTS = 2_000;

function acts(): { readonly act: Act; readonly count: number }[] {
  let story = beginStory();
  return Array.from({ length: ACTS }, () => {
    const next = nextAct(story);
    story = next.story;
    return { act: next.act, count: story.nodes.length };
  });
}

test("nextAct() keeps the cluster between 10 and 12 nodes, each with an address of its own", () => {
  let story = beginStory();
  for (let turn = 0; turn < ACTS; turn += 1) {
    story = nextAct(story).story;
    const { length } = story.nodes;
    assert(length >= 10 && length <= 12, `${length} nodes at turn ${turn}`);
    assert.equal(new Set(story.nodes.map(({ address }) => address)).size, length);
    assert.equal(new Set(story.nodes.map(({ name }) => name)).size, length);
    for (const { address } of story.nodes) assert.match(address, /^203\.0\.113\.\d{1,3}$/);
  }
});

test("nextAct() begins with a departure, so that its grace is over soon", () => {
  assert.equal(nextAct(beginStory()).act.kind, "leave");
});

test("nextAct() lets fewer addresses go between two resyncs than the guard does", () => {
  const all = acts();
  // Acts are at least 2 s apart, resyncs 10 s: five acts at the most.
  for (let first = 0; first + 5 <= all.length; first += 1) {
    const five = all.slice(first, first + 5);
    const departures = five.filter(({ act }) => act.kind !== "join").length;
    const owned = Math.min(...five.map(({ count }) => count)) + departures;
    assert(departures <= Math.max(2, Math.floor(0.3 * owned)), `${departures} of ${owned}`);
  }
});

test("nextAct() tells the same story every time", () => {
  assert.deepEqual(acts(), acts());
});

test("nextAct() lets some nodes stay as they are for longer than a minute", () => {
  let story = beginStory();
  const since = new Map(story.nodes.map(({ address }) => [address, 0]));
  // 61 s at 2 s an act.
  const stays = 31;
  for (let turn = 1; turn < ACTS; turn += 1) {
    story = nextAct(story).story;
    for (const { address } of story.nodes) if (!since.has(address)) since.set(address, turn);
    const here = new Set(story.nodes.map(({ address }) => address));
    for (const address of since.keys()) if (!here.has(address)) since.delete(address);
    const old = [...since.values()].filter((first) => turn - first >= stays).length;
    if (turn > stays) assert(old >= 3, `${old} of ${story.nodes.length} at turn ${turn}`);
  }
});
