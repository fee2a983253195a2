import { accessListStage } from "./atlas-access-list-stage.ts";
import { testTarget } from "./target.ts";

testTarget({
  name: "atlas/access-list over HTTP",
  make: accessListStage,
  skip: [
    {
      reason: "Atlas names no state in which it takes no entries",
      cases: ["a busy backend is called busy, and takes the same write later"],
    },
  ],
});
