import { prefixListStage } from "./alibaba-stage.ts";
import { testTarget } from "./target.ts";

testTarget({
  name: "alibaba/prefix-list over HTTP",
  make: prefixListStage,
  skip: [
    {
      reason: "a prefix list says how many entries it may hold",
      cases: ["observe() knows no capacity without a limit"],
    },
    {
      reason: "a prefix list is read in one answer",
      cases: [
        "observe() reads all pages",
        "observe() rejects when one page fails, rather than show the others",
      ],
    },
  ],
});
