import { stageOverFake } from "./ec2-stage.ts";
import { testTarget } from "./target.ts";

testTarget({ name: "aws/security-group over the fake client", make: stageOverFake, skip: [] });
