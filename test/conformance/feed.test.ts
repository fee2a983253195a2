import { feedStage } from "./feed-stage.ts";
import { testTarget } from "./target.ts";

for (const [name, settings] of [
  ["feed", { tokens: ["env:FEED_TOKEN"] }],
  ["feed that may be empty", { open: true, empty: true }],
] as const) {
  testTarget({
    name,
    make: (options) => feedStage(options, settings),
    skip: [
      {
        reason: "a feed always knows its room: what all its readers hold, where nothing is said",
        cases: ["observe() knows no capacity without a limit"],
      },
      {
        reason: "a feed is read in one piece, there are no pages",
        cases: [
          "observe() reads all pages",
          "observe() rejects when one page fails, rather than show the others",
        ],
      },
      {
        reason: "the store has one kind of failure: whatever it is, the outcome is unknown",
        cases: [
          "a throttled call is called throttled, says how long to wait, and did nothing",
          "a denied call is called denied",
          "a busy backend is called busy, and takes the same write later",
        ],
      },
      {
        reason: "each change of a feed is one object, which is there whole or not at all",
        cases: [
          "half a batch is seen by the next read, and the rest can be written",
          "what fits of a batch that does not may stay, and is seen by the next read",
        ],
      },
      {
        reason: "a feed has one limit for both families",
        cases: ["families that the backend counts apart do not take each other's room"],
      },
      {
        reason: "a feed begins to exist when it is first written",
        cases: ["a missing object is never filled"],
      },
    ],
  });
}
