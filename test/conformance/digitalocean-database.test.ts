import { trustedSourcesStage } from "./digitalocean-database-stage.ts";
import { SKIPS } from "./rest-stage.ts";
import { testTarget } from "./target.ts";

testTarget({
  name: "digitalocean/database over HTTP",
  make: trustedSourcesStage,
  skip: [
    {
      reason: SKIPS.pages,
      cases: [
        "observe() reads all pages",
        "observe() rejects when one page fails, rather than show the others",
      ],
    },
    {
      reason: SKIPS.whole,
      cases: [
        "half a batch is seen by the next read, and the rest can be written",
        "what fits of a batch that does not may stay, and is seen by the next read",
      ],
    },
    { reason: SKIPS.capacity, cases: ["observe() knows no capacity without a limit"] },
    {
      reason: SKIPS.unversioned,
      cases: ["somebody else's write just before ours is kept, or said to be lost"],
    },
  ],
});
