import { stageOverHttp } from "./ec2-stage.ts";
import { testTarget } from "./target.ts";

testTarget({ name: "aws/security-group over HTTP", make: stageOverHttp, skip: [] });
