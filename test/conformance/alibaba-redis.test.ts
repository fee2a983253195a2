import { DATABASE_SKIPS, databaseStage } from "./alibaba-database-stage.ts";
import { testTarget } from "./target.ts";

testTarget({
  name: "alibaba/redis over HTTP",
  make: (options) => databaseStage("redis", options),
  skip: DATABASE_SKIPS,
});
