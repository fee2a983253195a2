import { securityGroupStage } from "./alibaba-stage.ts";
import { testTarget } from "./target.ts";

testTarget({
  name: "alibaba/security-group over HTTP",
  make: securityGroupStage,
  skip: [
    {
      reason: "a security group of ECS counts the rules of both families together",
      cases: ["families that the backend counts apart do not take each other's room"],
    },
  ],
});
