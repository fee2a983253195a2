import { parseCidr } from "../../lib/core/cidr.ts";
import { memoryTarget, memoryTargets } from "../../lib/targets/memory.ts";
import { testTarget } from "./target.ts";

testTarget({
  name: "memory",
  make: ({ limit, quota }) => {
    const memory = memoryTargets();
    const calls = { read: 0, add: 0, remove: 0 };
    const names = { name: "memory/demo", object: "memory.demo" };
    const inner = memoryTarget({ ...names, limit: limit ?? quota ?? null }, { id: "demo" }, memory);
    return Promise.resolve({
      target: {
        ...inner,
        observe: (signal) => {
          calls.read += 1;
          return inner.observe(signal);
        },
        apply: (batch, revision, signal) => {
          calls[batch.verb] += 1;
          return inner.apply(batch, revision, signal);
        },
      },
      secrets: [],
      shown: (text) => text,
      lines: () => memory.entries("demo").map((entry) => JSON.stringify(entry)),
      put: (address, text) => {
        const cidr = parseCidr(address);
        if (cidr !== null) memory.put("demo", { cidr, text, effect: "allow" });
      },
      drop: (cidr) => memory.drop("demo", cidr),
      surround: () =>
        memory.put("other", {
          cidr: parseCidr("192.0.2.1") ?? fail(),
          text: null,
          effect: "allow",
        }),
      inject: (verb, fault) => fail(`Cannot ${fault} a ${verb}`),
      calls: (verb) => calls[verb],
      close: () => Promise.resolve(),
    });
  },
  skip: [
    {
      reason: "memory has no way to it that could fail, lag, throttle, deny or hang",
      cases: [
        "observe() rejects when one page fails, rather than show the others",
        "a removed entry can be added again, although a read still shows it",
        "an added entry that a read does not show yet is a conflict to add again, and stays",
        "a write whose answer was lost is seen by the next read",
        "a call that never arrived did nothing and can be made again",
        "each call is one attempt",
        "a throttled call is called throttled, says how long to wait, and did nothing",
        "a denied call is called denied",
        "half a batch is seen by the next read, and the rest can be written",
        "a hung call ends as soon as its signal aborts",
        "a busy backend is called busy, and takes the same write later",
        "somebody else's write just before ours is kept, or said to be lost",
        "an added entry that a read does not show yet outlives the next write",
      ],
    },
    {
      reason: "memory is read in one piece, there are no pages",
      cases: ["observe() reads all pages"],
    },
    {
      reason: "memory writes a batch whole or not at all",
      cases: ["what fits of a batch that does not may stay, and is seen by the next read"],
    },
    {
      reason: "memory has one limit for both families",
      cases: ["families that the backend counts apart do not take each other's room"],
    },
    {
      reason: "memory makes an object when it is first written",
      cases: ["a missing object is never filled"],
    },
    {
      reason: "memory tells entries apart by CIDR alone, and has no ids",
      cases: ["remove spares the entry that somebody put in the place of ours since the read"],
    },
  ],
});

function fail(message = "unreachable"): never {
  throw new Error(message);
}
