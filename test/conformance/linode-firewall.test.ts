import { firewallStage } from "./linode-stage.ts";
import { SKIPS } from "./rest-stage.ts";
import { testTarget } from "./target.ts";

testTarget({
  name: "linode/firewall over HTTP",
  make: firewallStage,
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
      reason: "both families share the rules and the addresses of a rule",
      cases: ["families that the backend counts apart do not take each other's room"],
    },
  ],
});
