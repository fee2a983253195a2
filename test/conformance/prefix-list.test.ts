import { prefixListStage } from "./prefix-list-stage.ts";
import { testTarget } from "./target.ts";

testTarget({
  name: "aws/prefix-list over HTTP",
  make: prefixListStage,
  skip: [
    {
      reason: "EC2 always says how many entries a prefix list takes",
      cases: ["observe() knows no capacity without a limit"],
    },
    {
      reason: "EC2 makes a new version of all of a change or of nothing",
      cases: [
        "half a batch is seen by the next read, and the rest can be written",
        "what fits of a batch that does not may stay, and is seen by the next read",
      ],
    },
  ],
});
