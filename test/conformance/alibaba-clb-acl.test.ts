import { ACL_SKIPS, aclStage } from "./alibaba-acl-stage.ts";
import { testTarget } from "./target.ts";

testTarget({
  name: "alibaba/clb-acl over HTTP",
  make: (options) => aclStage("clb", options),
  skip: ACL_SKIPS,
});
