import { ACL_SKIPS, aclStage } from "./alibaba-acl-stage.ts";
import { testTarget } from "./target.ts";

testTarget({
  name: "alibaba/alb-acl over HTTP",
  make: (options) => aclStage("alb", options),
  skip: ACL_SKIPS,
});
